# Records version, git revision, compiler and flags in generated/kernels/base/build_info.inc, refreshed at build time
# so that a database row can name the build that wrote it.
set(SMEPILOT_FLAGS_STRING "${CMAKE_CXX_FLAGS} ${CMAKE_CXX_FLAGS_${CMAKE_BUILD_TYPE}}")
string(TOUPPER "${CMAKE_BUILD_TYPE}" _type)
set(SMEPILOT_FLAGS_STRING "${CMAKE_CXX_FLAGS} ${CMAKE_CXX_FLAGS_${_type}}")
string(STRIP "${SMEPILOT_FLAGS_STRING}" SMEPILOT_FLAGS_STRING)
if(SMEPILOT_SANITIZE)
  string(APPEND SMEPILOT_FLAGS_STRING " -fsanitize=${SMEPILOT_SANITIZE}")
endif()
set(SMEPILOT_BUILD_INFO "${PROJECT_BINARY_DIR}/generated/kernels/base/build_info.inc")
set(_args -DSOURCE=${PROJECT_SOURCE_DIR} -DOUT=${SMEPILOT_BUILD_INFO} -DVERSION=${PROJECT_VERSION}
          "-DCOMPILER=${CMAKE_CXX_COMPILER_ID} ${CMAKE_CXX_COMPILER_VERSION}" "-DFLAGS=${SMEPILOT_FLAGS_STRING}"
          -DTYPE=${CMAKE_BUILD_TYPE} -P "${PROJECT_SOURCE_DIR}/scripts/cmake/write_build_info.cmake")
execute_process(COMMAND ${CMAKE_COMMAND} ${_args})
add_custom_target(smepilot_build_info COMMAND ${CMAKE_COMMAND} ${_args} BYPRODUCTS ${SMEPILOT_BUILD_INFO} VERBATIM)
