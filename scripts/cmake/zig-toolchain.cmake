# Cross build with zig's clang, which brings the headers and C libraries of its targets: see
# scripts/check_portability.py, which makes SMEPILOT_ZIG_DIR with the compilers' names in bin/ and the libraries in
# prefix/. SMEPILOT_ZIG_TARGET is "aarch64-macos" or "aarch64-linux-musl".
list(APPEND CMAKE_TRY_COMPILE_PLATFORM_VARIABLES SMEPILOT_ZIG_TARGET SMEPILOT_ZIG_DIR)
if(SMEPILOT_ZIG_TARGET MATCHES "macos")
  set(CMAKE_SYSTEM_NAME Darwin)
  set(CMAKE_SYSTEM_PROCESSOR arm64)
  set(CMAKE_OSX_SYSROOT "")  # the compiler has its own
  set(CMAKE_HAVE_LIBC_PTHREAD TRUE)
else()
  set(CMAKE_SYSTEM_NAME Linux)
  set(CMAKE_SYSTEM_PROCESSOR aarch64)
  # Threads of musl have 128 KiB of stack where the program does not say otherwise.
  set(CMAKE_EXE_LINKER_FLAGS_INIT "-static -Wl,-z,stack-size=8388608")
endif()
# Probes are compiled only: to link one, zig would build its C++ library for the very CPU of the probe.
set(CMAKE_TRY_COMPILE_TARGET_TYPE STATIC_LIBRARY)
foreach(tool C_COMPILER:cc CXX_COMPILER:c++ AR:ar RANLIB:ranlib)
  string(REPLACE ":" ";" tool "${tool}")
  list(GET tool 0 variable)
  list(GET tool 1 program)
  set(CMAKE_${variable} "${SMEPILOT_ZIG_DIR}/bin/${program}")
endforeach()

set(CMAKE_FIND_ROOT_PATH "${SMEPILOT_ZIG_DIR}/prefix")
set(CMAKE_PREFIX_PATH "${SMEPILOT_ZIG_DIR}/prefix")
set(CMAKE_FIND_ROOT_PATH_MODE_PROGRAM NEVER)
set(CMAKE_FIND_ROOT_PATH_MODE_LIBRARY ONLY)
set(CMAKE_FIND_ROOT_PATH_MODE_INCLUDE ONLY)
set(CMAKE_FIND_ROOT_PATH_MODE_PACKAGE ONLY)
set(ENV{PKG_CONFIG_LIBDIR} "${SMEPILOT_ZIG_DIR}/prefix/lib/pkgconfig")
set(ENV{PKG_CONFIG_PATH} "")
