# How Cantus's targets are built: one set of warnings, one way to declare a module, a program, a
# test and a fuzz target.

add_library(cantus_flags INTERFACE)
target_include_directories(cantus_flags INTERFACE ${PROJECT_SOURCE_DIR}
                           ${PROJECT_SOURCE_DIR}/libclient/include)
target_compile_definitions(cantus_flags INTERFACE _GNU_SOURCE)
target_compile_options(cantus_flags INTERFACE
    -Wall -Wextra -Werror -Wpedantic -Wconversion -Wsign-conversion -Wshadow -Wstrict-prototypes
    -Wmissing-prototypes -Wold-style-definition -Wpointer-arith -Wcast-qual -Wwrite-strings
    -Wundef -Wvla -Wformat=2 -Wswitch-enum -fno-strict-aliasing -fvisibility=hidden
    -UNDEBUG) # assertions state invariants and stay on in every build
if(CANTUS_SANITIZE)
    target_compile_options(cantus_flags INTERFACE -fsanitize=${CANTUS_SANITIZE}
                           -fno-omit-frame-pointer -fno-sanitize-recover=all)
    target_link_options(cantus_flags INTERFACE -fsanitize=${CANTUS_SANITIZE})
endif()
if(CANTUS_FUZZ)
    target_compile_options(cantus_flags INTERFACE -fsanitize=fuzzer-no-link)
endif()

# cantus_module(NAME SOURCES ... [LINK ...]): a static library of the folder's sources.
function(cantus_module name)
    cmake_parse_arguments(ARG "" "" "SOURCES;LINK" ${ARGN})
    add_library(${name} STATIC ${ARG_SOURCES})
    target_link_libraries(${name} PUBLIC cantus_flags ${ARG_LINK})
endfunction()

# cantus_program(NAME SOURCES ... LINK ...): lands in bin/.
function(cantus_program name)
    cmake_parse_arguments(ARG "" "" "SOURCES;LINK" ${ARGN})
    add_executable(${name} ${ARG_SOURCES})
    target_link_libraries(${name} PRIVATE cantus_flags ${ARG_LINK})
endfunction()

# cantus_test(NAME SOURCES ... LINK ...): a Check program, run by ctest.
function(cantus_test name)
    cmake_parse_arguments(ARG "" "" "SOURCES;LINK" ${ARGN})
    add_executable(test_${name} ${ARG_SOURCES})
    target_link_libraries(test_${name} PRIVATE cantus_flags ${ARG_LINK} PkgConfig::CHECK m)
    set_target_properties(test_${name} PROPERTIES RUNTIME_OUTPUT_DIRECTORY ${CMAKE_BINARY_DIR}/tests)
    add_test(NAME ${name} COMMAND test_${name})
    set_tests_properties(${name} PROPERTIES ENVIRONMENT "CK_TIMEOUT_MULTIPLIER=20" TIMEOUT 600)
endfunction()

# cantus_fuzz(NAME SOURCES ... LINK ...): a libFuzzer program with its corpus in fuzz/corpus/NAME.
function(cantus_fuzz name)
    cmake_parse_arguments(ARG "" "" "SOURCES;LINK" ${ARGN})
    add_executable(fuzz_${name} ${ARG_SOURCES})
    target_link_libraries(fuzz_${name} PRIVATE cantus_flags ${ARG_LINK})
    target_link_options(fuzz_${name} PRIVATE -fsanitize=fuzzer)
    set_target_properties(fuzz_${name} PROPERTIES RUNTIME_OUTPUT_DIRECTORY ${CMAKE_BINARY_DIR}/fuzz)
endfunction()
