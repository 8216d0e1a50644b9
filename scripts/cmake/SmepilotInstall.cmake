# What `cmake --install` puts beside the programs (those say so themselves): the libraries, the header of the C++
# interface, and what find_package(smepilot) reads; and the .deb that `cpack -G DEB` makes of all of it.
include(GNUInstallDirs)
include(CMakePackageConfigHelpers)
set(_package "${CMAKE_INSTALL_LIBDIR}/cmake/smepilot")
foreach(library options kernels profiles db tuner engine)
  set_target_properties(smepilot_${library} PROPERTIES EXPORT_NAME ${library})
  install(TARGETS smepilot_${library} EXPORT smepilot ARCHIVE DESTINATION ${CMAKE_INSTALL_LIBDIR})
endforeach()
install(EXPORT smepilot NAMESPACE smepilot:: FILE smepilotTargets.cmake DESTINATION ${_package})
foreach(header engine/smepilot.h kernels/base/status.h)
  get_filename_component(folder ${header} DIRECTORY)
  install(FILES ${header} DESTINATION ${CMAKE_INSTALL_INCLUDEDIR}/smepilot/${folder})
endforeach()
configure_package_config_file("${CMAKE_CURRENT_LIST_DIR}/smepilotConfig.cmake.in"
                              "${PROJECT_BINARY_DIR}/smepilotConfig.cmake" INSTALL_DESTINATION ${_package})
write_basic_package_version_file("${PROJECT_BINARY_DIR}/smepilotConfigVersion.cmake" COMPATIBILITY SameMinorVersion)
install(FILES "${PROJECT_BINARY_DIR}/smepilotConfig.cmake" "${PROJECT_BINARY_DIR}/smepilotConfigVersion.cmake"
        DESTINATION ${_package})
install(FILES LICENSE README.md DESTINATION ${CMAKE_INSTALL_DOCDIR})
install(FILES LICENSE DESTINATION ${CMAKE_INSTALL_DOCDIR} RENAME copyright)  # where Debian looks for it
install(DIRECTORY docs DESTINATION ${CMAKE_INSTALL_DOCDIR} FILES_MATCHING PATTERN "*.md" PATTERN "*.png")

# Completions and man pages, made from what the programs say with --help.
find_package(Python3 COMPONENTS Interpreter)
if(Python3_Interpreter_FOUND AND (NOT CMAKE_CROSSCOMPILING OR CMAKE_CROSSCOMPILING_EMULATOR))
  set(_texts "${PROJECT_BINARY_DIR}/cli_texts")
  string(REPLACE ";" " " _emulator "${CMAKE_CROSSCOMPILING_EMULATOR}")
  add_custom_command(OUTPUT "${_texts}/stamp"
    COMMAND "${Python3_EXECUTABLE}" "${PROJECT_SOURCE_DIR}/scripts/cli_texts.py" --out "${_texts}" --version ${PROJECT_VERSION}
            "--emulator=${_emulator}" $<TARGET_FILE:smetune> $<TARGET_FILE:smepilot-run>
    COMMAND ${CMAKE_COMMAND} -E touch "${_texts}/stamp"
    DEPENDS smetune smepilot-run "${PROJECT_SOURCE_DIR}/scripts/cli_texts.py" COMMENT "Completions and man pages" VERBATIM)
  add_custom_target(smepilot_cli_texts ALL DEPENDS "${_texts}/stamp")
  install(DIRECTORY "${_texts}/bash/" DESTINATION ${CMAKE_INSTALL_DATADIR}/bash-completion/completions OPTIONAL)
  install(DIRECTORY "${_texts}/fish/" DESTINATION ${CMAKE_INSTALL_DATADIR}/fish/vendor_completions.d OPTIONAL)
  # zsh reads the first below /usr/local, and on Debian the second below /usr.
  foreach(folder site-functions vendor-completions)
    install(DIRECTORY "${_texts}/zsh/" DESTINATION ${CMAKE_INSTALL_DATADIR}/zsh/${folder} OPTIONAL)
  endforeach()
  install(DIRECTORY "${_texts}/man/" DESTINATION ${CMAKE_INSTALL_MANDIR}/man1 OPTIONAL)
endif()

if(PROJECT_IS_TOP_LEVEL)
  set(CPACK_PACKAGE_NAME smepilot)
  set(CPACK_PACKAGE_VENDOR "SMEPilot project")
  # A package's maintainer is who builds it: as Debian's tools have it, else as git knows them.
  find_package(Git QUIET)
  set(_contact "smepilot <nobody@example.invalid>")
  if(NOT "$ENV{DEBFULLNAME}" STREQUAL "" AND NOT "$ENV{DEBEMAIL}" STREQUAL "")
    set(_contact "$ENV{DEBFULLNAME} <$ENV{DEBEMAIL}>")
  elseif(GIT_FOUND)
    foreach(field name email)
      execute_process(COMMAND "${GIT_EXECUTABLE}" config user.${field} WORKING_DIRECTORY "${PROJECT_SOURCE_DIR}"
                      OUTPUT_VARIABLE _${field} OUTPUT_STRIP_TRAILING_WHITESPACE ERROR_QUIET)
    endforeach()
    if(_name AND _email)
      set(_contact "${_name} <${_email}>")
    endif()
  endif()
  set(SMEPILOT_PACKAGE_CONTACT "${_contact}" CACHE STRING "Maintainer of the packages that cpack makes: NAME <ADDRESS>")
  set(CPACK_PACKAGE_CONTACT "${SMEPILOT_PACKAGE_CONTACT}")
  set(CPACK_PACKAGING_INSTALL_PREFIX /usr)
  set(CPACK_STRIP_FILES ON)
  set(CPACK_DEBIAN_FILE_NAME DEB-DEFAULT)
  set(CPACK_DEBIAN_PACKAGE_SECTION science)
  set(CPACK_DEBIAN_PACKAGE_SHLIBDEPS ON)  # Depends: what the programs link
  set(CPACK_DEBIAN_PACKAGE_RECOMMENDS "python3, python3-matplotlib, python3-jinja2")  # for `smetune report`
  set(CPACK_DEBIAN_PACKAGE_SUGGESTS "g++, cmake, libfmt-dev, libsqlite3-dev, libpcre2-dev, libhwloc-dev, pkg-config")
  # Behind the first line, which is the project's.
  set(CPACK_DEBIAN_PACKAGE_DESCRIPTION "smetune calibrates this machine and searches how it should run each operator
of a model; smepilot-run is the inference engine that runs GGUF models by the
stored plan. With the static libraries and the C++ interface.")
  include(CPack)
endif()
