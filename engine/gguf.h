// Moved to profiles/gguf.h, where the tuner may read model files too.
#pragma once
#include "profiles/gguf.h"
