# The shared precompiled headers: one for programs and one for tests, each built once and reused by
# every target that has TORCH.
function(sterna_pch target header)
  add_library(${target} STATIC ${PROJECT_SOURCE_DIR}/cmake/pch.cpp)
  target_precompile_headers(${target} PRIVATE ${PROJECT_SOURCE_DIR}/cmake/${header})
  target_compile_options(${target} PRIVATE ${STERNA_COMPILE_OPTIONS} ${ARGN})
  target_include_directories(${target} PUBLIC ${PROJECT_SOURCE_DIR})
  target_link_libraries(${target} PUBLIC sterna::torch)
endfunction()
sterna_pch(sterna_pch pch.h)
# Half of a test's compile time at -O2 is the optimizer, for code that runs once.
set(STERNA_TEST_OPTIONS $<$<CONFIG:Release>:-O1>)
sterna_pch(sterna_test_pch test_pch.h ${STERNA_TEST_OPTIONS})
target_link_libraries(sterna_test_pch PUBLIC GTest::gtest)

# sterna_compile(<target> <torch> [<pch>]): flags, include folder and, with torch, a shared header.
function(sterna_compile target torch)
  set(pch sterna_pch)
  if(ARGC GREATER 2)
    set(pch ${ARGV2})
  endif()
  target_compile_options(${target} PRIVATE
    "$<$<COMPILE_LANGUAGE:CXX>:${STERNA_COMPILE_OPTIONS}>"
    "$<$<COMPILE_LANGUAGE:CUDA>:${STERNA_CUDA_OPTIONS}>")
  target_include_directories(${target} PUBLIC ${PROJECT_SOURCE_DIR})
  if(torch)
    target_link_libraries(${target} PUBLIC sterna::torch)
    target_precompile_headers(${target} REUSE_FROM ${pch})
  endif()
endfunction()

# sterna_library(<folder> [TORCH] [JOINED n] SOURCES ... LINKS ...): one static library per folder, named by
# its last part: trainer/io is sterna::io. Sources are listed: a forgotten one fails to link.
# CUDA sources are left out where there is no nvcc; STERNA_HAS_CUDA_KERNELS says that they are in.
function(sterna_library folder)
  cmake_parse_arguments(PARSE_ARGV 1 arg "TORCH" "JOINED" "SOURCES;CUDA_SOURCES;LINKS")
  get_filename_component(name ${folder} NAME)
  if(NOT arg_SOURCES)
    add_library(sterna_${name} INTERFACE)
    add_library(sterna::${name} ALIAS sterna_${name})
    target_include_directories(sterna_${name} INTERFACE ${PROJECT_SOURCE_DIR})
    target_link_libraries(sterna_${name} INTERFACE ${arg_LINKS})
    return()
  endif()
  if(STERNA_HAS_NVCC)
    list(APPEND arg_SOURCES ${arg_CUDA_SOURCES})
  endif()
  list(TRANSFORM arg_SOURCES PREPEND ${folder}/)
  foreach(source ${arg_SOURCES})
    # Chosen at run time (kernels/cpu.h). GCC 12 warns of its own intrinsics' undefined lanes.
    if(source MATCHES "_(avx512|amx)\\.cpp$")
      set(options -mavx512f -mavx512bw -mavx512dq -mavx512vl -mavx512vnni -mavx512vbmi)
      if(source MATCHES "_amx\\.cpp$")
        list(APPEND options -mamx-tile -mamx-int8)
      endif()
      if(CMAKE_CXX_COMPILER_ID STREQUAL GNU)
        list(APPEND options -Wno-maybe-uninitialized -Wno-uninitialized)
      endif()
      set_source_files_properties(${source} PROPERTIES COMPILE_OPTIONS "${options}")
    endif()
  endforeach()
  add_library(sterna_${name} STATIC ${arg_SOURCES})
  add_library(sterna::${name} ALIAS sterna_${name})
  sterna_compile(sterna_${name} "${arg_TORCH}")
  if(arg_JOINED)
    # Small files of one kind, most of whose compile time is their headers': several at a time.
    set_target_properties(sterna_${name} PROPERTIES UNITY_BUILD ON UNITY_BUILD_BATCH_SIZE ${arg_JOINED})
  endif()
  target_link_libraries(sterna_${name} PUBLIC ${arg_LINKS})
  if(STERNA_HAS_NVCC AND arg_CUDA_SOURCES)
    target_compile_definitions(sterna_${name} PUBLIC STERNA_HAS_CUDA_KERNELS)
    target_include_directories(sterna_${name} SYSTEM PUBLIC
      ${CMAKE_CUDA_TOOLKIT_INCLUDE_DIRECTORIES})
    target_link_libraries(sterna_${name} PUBLIC wheel_cudart)
  endif()
endfunction()

# The checkout's place, in one small file, so that no other test depends on it.
configure_file(tests/support/paths.cpp.in ${PROJECT_BINARY_DIR}/tests/paths.cpp @ONLY)
add_library(sterna_test_paths STATIC ${PROJECT_BINARY_DIR}/tests/paths.cpp)
target_include_directories(sterna_test_paths PRIVATE ${PROJECT_SOURCE_DIR})

# sterna_test(<name>): the files tests/<name>/*_test.cpp, found rather than listed, because a
# forgotten test is silent. x_golden_test.cpp, x_slow_test.cpp, x_interop_test.cpp and
# x_e2e_test.cpp carry that label; every other file is 'unit'. One program per folder and label.
function(sterna_test name)
  file(GLOB all CONFIGURE_DEPENDS ${PROJECT_SOURCE_DIR}/tests/${name}/*_test.cpp)
  foreach(label unit golden slow interop e2e)
    set(sources ${all})
    if(label STREQUAL unit)
      list(FILTER sources EXCLUDE REGEX "_(golden|slow|interop|e2e)_test\\.cpp$")
      set(program ${name}_test)
    else()
      list(FILTER sources INCLUDE REGEX "_${label}_test\\.cpp$")
      set(program ${name}_${label}_test)
    endif()
    if(sources)
      add_executable(${program} ${sources})
      set(library sterna::${name})
      if(NOT TARGET ${library})
        set(library "")
      endif()
      set(torch OFF)
      if(name MATCHES "^(quant|distill|kvcache|dist|model|export|eval|run|plan|cli|device)$")
        set(torch ON)
      endif()
      sterna_compile(${program} ${torch} sterna_test_pch)
      # -fPIE would not match the precompiled header, which then is parsed again.
      set_target_properties(${program} PROPERTIES POSITION_INDEPENDENT_CODE OFF)
      target_compile_options(${program} PRIVATE -fPIC ${STERNA_TEST_OPTIONS})
      # Headers are most of a test's compile time too: names are unique within a folder of tests.
      set_target_properties(${program} PROPERTIES UNITY_BUILD ON UNITY_BUILD_BATCH_SIZE 5)
      target_link_libraries(${program} PRIVATE ${library} sterna_test_paths GTest::gtest_main)
      if(label STREQUAL golden AND TARGET sterna::io)
        target_link_libraries(${program} PRIVATE sterna::io)  # reads the reference sets
      endif()
      install(TARGETS ${program} DESTINATION bin COMPONENT ${program} EXCLUDE_FROM_ALL)
      add_test(NAME ${name}.${label} COMMAND ${program}
               WORKING_DIRECTORY ${PROJECT_SOURCE_DIR})
      # Small tests run side by side on one thread each, the others alone on two.
      set(threads 1)
      if(label MATCHES "^(slow|interop|e2e)$")
        set(threads 2)
      endif()
      set_tests_properties(${name}.${label} PROPERTIES LABELS ${label} TIMEOUT 1800
        PROCESSORS ${threads} ENVIRONMENT OMP_NUM_THREADS=${threads})
    endif()
  endforeach()
endfunction()
