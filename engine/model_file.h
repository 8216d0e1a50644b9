// Moved to profiles/model_file.h, where the tuner may read model files too.
#pragma once
#include "profiles/model_file.h"
