# Compiler flags, build types, ccache and sanitizers: the same for every target.
set(CMAKE_CXX_STANDARD 20)
set(CMAKE_CXX_STANDARD_REQUIRED ON)
set(CMAKE_CXX_EXTENSIONS OFF)
# Not CMAKE_POSITION_INDEPENDENT_CODE, which gives programs -fPIE: they could not use the shared
# precompiled header, which belongs to a library.
add_compile_options($<$<COMPILE_LANGUAGE:CXX>:-fPIC> $<$<COMPILE_LANGUAGE:CUDA>:-Xcompiler=-fPIC>)
set(CMAKE_EXPORT_COMPILE_COMMANDS ON)
set(CMAKE_RUNTIME_OUTPUT_DIRECTORY ${PROJECT_BINARY_DIR})
# What scripts/bundle installs finds its libraries beside itself.
set(CMAKE_INSTALL_RPATH "$ORIGIN/../lib")
set(CMAKE_CXX_FLAGS_RELEASE "-O2 -DNDEBUG")
set(CMAKE_CXX_FLAGS_DEBUG "-O1 -g1")

if(NOT CMAKE_BUILD_TYPE)
  set(CMAKE_BUILD_TYPE Release CACHE STRING "Release, Debug or Asan" FORCE)
endif()

find_program(CCACHE ccache)
if(CCACHE)
  # A precompiled header is only reused when ccache ignores its time stamp.
  set(launcher env CCACHE_SLOPPINESS=pch_defines,time_macros,include_file_mtime,include_file_ctime
      CCACHE_BASEDIR=${PROJECT_SOURCE_DIR} CCACHE_NOHASHDIR=1 ${CCACHE})
  set(CMAKE_CXX_COMPILER_LAUNCHER ${launcher})
  set(CMAKE_CUDA_COMPILER_LAUNCHER ${CCACHE})
endif()

# libtorch exports a std::filesystem of its own whose remove_all() jumps to address 0. The system's
# library comes first in every program, so that its symbols win.
add_link_options(-Wl,--push-state,--no-as-needed,-lstdc++,--pop-state)

# No contraction: a scale has the same bits on every instruction set (ARCHITECTURE.md, invariants).
set(STERNA_COMPILE_OPTIONS -Wall -Wextra -Wshadow -march=${STERNA_MARCH} -ffp-contract=off)
set(STERNA_CUDA_OPTIONS -Xcompiler=-Wall,-Wextra)
if(STERNA_WERROR)
  list(APPEND STERNA_COMPILE_OPTIONS -Werror)
  list(APPEND STERNA_CUDA_OPTIONS --Werror=all-warnings)
endif()

option(STERNA_SANITIZE "AddressSanitizer and UndefinedBehaviorSanitizer" OFF)
if(STERNA_SANITIZE)
  add_compile_options(-fsanitize=address,undefined -fno-sanitize-recover=undefined
                      -fno-omit-frame-pointer -g1)
  add_link_options(-fsanitize=address,undefined)
  # g++ 12 sees uninitialised values in its own <regex> once the sanitizers' code is in.
  if(CMAKE_CXX_COMPILER_ID STREQUAL GNU)
    list(APPEND STERNA_COMPILE_OPTIONS -Wno-maybe-uninitialized)
  endif()
endif()

# tests/fuzz/README.md
option(STERNA_FUZZ "Instrument for libFuzzer and define the program fuzz (clang)" OFF)
if(STERNA_FUZZ)
  add_compile_options(-fsanitize=fuzzer-no-link)
  list(APPEND STERNA_COMPILE_OPTIONS -Wno-unknown-pragmas)  # GCC's ivdep
endif()
