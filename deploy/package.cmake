# Packages of Debian, by `cmake --workflow --preset package`: cantus (the programs and their units), libcantus0,
# and libcantus-dev. What they depend on is read off their programs.
set(CANTUS_MAINTAINER "The Cantus authors <authors@cantus.invalid>" CACHE STRING "Whom a package names")
set(debian ${CMAKE_CURRENT_SOURCE_DIR}/debian)

set(CPACK_GENERATOR DEB)
set(CPACK_PACKAGE_NAME cantus)
set(CPACK_PACKAGE_VERSION ${PROJECT_VERSION})
set(CPACK_PACKAGE_CONTACT "${CANTUS_MAINTAINER}")
set(CPACK_PACKAGE_DIRECTORY ${CMAKE_BINARY_DIR}/packages)
set(CPACK_PACKAGING_INSTALL_PREFIX ${CMAKE_INSTALL_PREFIX})
set(CPACK_RESOURCE_FILE_LICENSE ${PROJECT_SOURCE_DIR}/LICENSE)
set(CPACK_STRIP_FILES ON)
set(CPACK_COMPONENTS_ALL programs library development)
set(CPACK_PRE_BUILD_SCRIPTS ${debian}/compress.cmake)
set(CPACK_INSTALL_DEFAULT_DIRECTORY_PERMISSIONS
    OWNER_READ OWNER_WRITE OWNER_EXECUTE GROUP_READ GROUP_EXECUTE WORLD_READ WORLD_EXECUTE)

set(CPACK_DEB_COMPONENT_INSTALL ON)
set(CPACK_DEBIAN_FILE_NAME DEB-DEFAULT)
set(CPACK_DEBIAN_PACKAGE_SHLIBDEPS ON)
set(CPACK_DEBIAN_PACKAGE_GENERATE_SHLIBS ON)
set(CPACK_DEBIAN_PACKAGE_GENERATE_SHLIBS_POLICY ">=")
set(CPACK_DEBIAN_PACKAGE_CONTROL_STRICT_PERMISSION ON)

set(CPACK_DEBIAN_PROGRAMS_PACKAGE_NAME cantus)
set(CPACK_DEBIAN_PROGRAMS_PACKAGE_SECTION net)
# systemd-sysusers makes the user that the daemons run as.
set(CPACK_DEBIAN_PROGRAMS_PACKAGE_DEPENDS "systemd | systemd-standalone-sysusers")
set(CPACK_DEBIAN_PROGRAMS_PACKAGE_CONTROL_EXTRA ${debian}/postinst ${debian}/prerm ${debian}/postrm)
set(CPACK_COMPONENT_PROGRAMS_DESCRIPTION "One totally ordered stream of messages for many programs
Cantus gives many programs on many machines one totally ordered stream of
messages, and a way to write those programs as deterministic state machines
that follow it.
.
This package has the command, the sequencer, the retransmitter, the proxy,
and their units.")

set(CPACK_DEBIAN_LIBRARY_PACKAGE_NAME libcantus0)
set(CPACK_DEBIAN_LIBRARY_PACKAGE_SECTION libs)
set(CPACK_DEBIAN_LIBRARY_PACKAGE_CONTROL_EXTRA ${debian}/triggers)
set(CPACK_COMPONENT_LIBRARY_DESCRIPTION "One totally ordered stream of messages: the library
With this library a program follows a stream of Cantus, publishes to it, and
runs deterministic state machines on it.")

set(CPACK_DEBIAN_DEVELOPMENT_PACKAGE_NAME libcantus-dev)
set(CPACK_DEBIAN_DEVELOPMENT_PACKAGE_SECTION libdevel)
set(CPACK_DEBIAN_DEVELOPMENT_PACKAGE_DEPENDS "libcantus0 (= ${PROJECT_VERSION})")
set(CPACK_DEBIAN_DEVELOPMENT_PACKAGE_SUGGESTS
    "libxxhash-dev, libyaml-dev, libprotobuf-c-dev, liburing-dev, libsodium-dev, libssl-dev") # for libcantus.a
set(CPACK_COMPONENT_DEVELOPMENT_DESCRIPTION "One totally ordered stream of messages: what it takes to build with it
Headers, files for pkg-config and CMake, and libcantus.a, for programs that
use libcantus.")

# What a package has to say of itself, and no other installation needs.
foreach(package programs:cantus library:libcantus0 development:libcantus-dev)
    string(REPLACE ":" ";" package ${package})
    list(POP_FRONT package component name)
    set(doc ${CMAKE_INSTALL_DATADIR}/doc/${name})
    install(FILES ${debian}/copyright DESTINATION ${doc} COMPONENT ${component} EXCLUDE_FROM_ALL)
    install(FILES ${debian}/changelog DESTINATION ${doc} COMPONENT ${component} EXCLUDE_FROM_ALL)
endforeach()
include(CPack)
