# smepilot_add_test(<name> LABELS <label>... SOURCES <file>... LIBS <target>... [TIMEOUT s])
#
# A GoogleTest program, registered as one ctest per program. It finds the shared models through SMEPILOT_SHARED_DIR
# and the project's own data through SMEPILOT_SOURCE_DIR. Target thread_tests builds all that have the label threads,
# target kernel_tests those with the label kernel.
add_custom_target(thread_tests)
add_custom_target(kernel_tests)
function(smepilot_add_test name)
  cmake_parse_arguments(ARG "" "TIMEOUT" "LABELS;SOURCES;LIBS" ${ARGN})
  add_executable(${name} ${ARG_SOURCES})
  target_link_libraries(${name} PRIVATE ${ARG_LIBS} smepilot_options GTest::gtest GTest::gtest_main)
  target_compile_definitions(${name} PRIVATE SMEPILOT_SHARED_DIR="${SMEPILOT_SHARED_DIR}"
                             SMEPILOT_SOURCE_DIR="${PROJECT_SOURCE_DIR}" SMEPILOT_BINARY_DIR="${PROJECT_BINARY_DIR}")
  add_test(NAME ${name} COMMAND ${name})
  if("threads" IN_LIST ARG_LABELS)
    add_dependencies(thread_tests ${name})
  endif()
  if("kernel" IN_LIST ARG_LABELS)
    add_dependencies(kernel_tests ${name})
  endif()
  if(NOT ARG_TIMEOUT)
    set(ARG_TIMEOUT 300)
  endif()
  set_tests_properties(${name} PROPERTIES LABELS "${ARG_LABELS}" TIMEOUT ${ARG_TIMEOUT})
endfunction()
