# cmake -DSOURCE= -DOUT= -DVERSION= -DCOMPILER= -DFLAGS= -DTYPE= -P: writes build_info.inc if it changed.
execute_process(COMMAND git -C "${SOURCE}" describe --always --dirty --abbrev=12 --exclude "*"
                OUTPUT_VARIABLE revision OUTPUT_STRIP_TRAILING_WHITESPACE ERROR_QUIET RESULT_VARIABLE rc)
if(NOT rc EQUAL 0)
  set(revision "unknown")
endif()
file(CONFIGURE OUTPUT "${OUT}" CONTENT
"// Generated at build time.
#define SMEPILOT_VERSION \"${VERSION}\"
#define SMEPILOT_REVISION \"${revision}\"
#define SMEPILOT_COMPILER \"${COMPILER}\"
#define SMEPILOT_BUILD_FLAGS \"${FLAGS}\"
#define SMEPILOT_BUILD_TYPE \"${TYPE}\"
")
