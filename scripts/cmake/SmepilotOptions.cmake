# Warnings and sanitizers, as an interface target that every target of the project links.
add_library(smepilot_options INTERFACE)
add_library(smepilot::options ALIAS smepilot_options)
target_include_directories(smepilot_options INTERFACE "$<BUILD_INTERFACE:${PROJECT_SOURCE_DIR};${PROJECT_BINARY_DIR}/generated>"
                           "$<INSTALL_INTERFACE:include/smepilot>")
target_compile_options(smepilot_options INTERFACE $<BUILD_INTERFACE:-Wall -Wextra -Wpedantic -Wshadow -Wnon-virtual-dtor
                       -Wcast-qual -Wundef>)
# std::stable_sort of libstdc++ 12 uses what it has itself deprecated, and clang 22 blames the caller.
target_compile_options(smepilot_options INTERFACE $<BUILD_INTERFACE:$<$<CXX_COMPILER_ID:Clang>:-Wno-deprecated-declarations>>)
if(SMEPILOT_WERROR)
  target_compile_options(smepilot_options INTERFACE $<BUILD_INTERFACE:-Werror>)
endif()
if(SMEPILOT_DEBUG_CHECKS)
  target_compile_definitions(smepilot_options INTERFACE $<BUILD_INTERFACE:SMEPILOT_DEBUG_CHECKS>)
endif()
if(SMEPILOT_SANITIZE)
  add_compile_options(-fsanitize=${SMEPILOT_SANITIZE} -fno-omit-frame-pointer)
  add_link_options(-fsanitize=${SMEPILOT_SANITIZE})
endif()
