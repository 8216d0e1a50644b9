# smepilot_add_run(<name> <program> [ARGS <argument>...] LABELS <label>... [ENVIRONMENT <NAME=value>...] [TIMEOUT s])
#
# A test that runs a program of ours. Target thread_tests builds the programs of all tests that have the label threads,
# target arm_tests those of the label arm: what a build is made for that runs only these.
add_custom_target(thread_tests)
add_custom_target(arm_tests)
function(smepilot_add_run name program)
  cmake_parse_arguments(ARG "" "TIMEOUT" "ARGS;LABELS;ENVIRONMENT" ${ARGN})
  if(NOT ARG_TIMEOUT)
    set(ARG_TIMEOUT 300)
  endif()
  add_test(NAME ${name} COMMAND ${program} ${ARG_ARGS})
  set_tests_properties(${name} PROPERTIES LABELS "${ARG_LABELS}" ENVIRONMENT "${ARG_ENVIRONMENT}" TIMEOUT ${ARG_TIMEOUT})
  if("threads" IN_LIST ARG_LABELS)
    add_dependencies(thread_tests ${program})
  endif()
  if("arm" IN_LIST ARG_LABELS)
    add_dependencies(arm_tests ${program})
  endif()
endfunction()

# smepilot_add_test(<name> LABELS <label>... SOURCES <file>... LIBS <target>... [TIMEOUT s])
#
# A GoogleTest program, registered as one ctest per program. It finds the shared models through SMEPILOT_SHARED_DIR
# and the project's own data through SMEPILOT_SOURCE_DIR.
function(smepilot_add_test name)
  cmake_parse_arguments(ARG "" "TIMEOUT" "LABELS;SOURCES;LIBS" ${ARGN})
  add_executable(${name} ${ARG_SOURCES})
  target_link_libraries(${name} PRIVATE ${ARG_LIBS} smepilot_options GTest::gtest GTest::gtest_main)
  target_compile_definitions(${name} PRIVATE SMEPILOT_SHARED_DIR="${SMEPILOT_SHARED_DIR}"
                             SMEPILOT_SOURCE_DIR="${PROJECT_SOURCE_DIR}" SMEPILOT_BINARY_DIR="${PROJECT_BINARY_DIR}")
  smepilot_add_run(${name} ${name} LABELS ${ARG_LABELS} TIMEOUT ${ARG_TIMEOUT})
endfunction()
