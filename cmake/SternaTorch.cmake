# sterna::torch: LibTorch out of the Python wheel, by imported targets. find_package(Torch) of a
# CUDA wheel needs a full CUDA toolkit; this needs none, and is the same with one.
if(NOT STERNA_TORCH)
  find_package(Python3 COMPONENTS Interpreter REQUIRED)
  execute_process(
    COMMAND ${Python3_EXECUTABLE} -c "import importlib.util as u; print(u.find_spec('torch').submodule_search_locations[0])"
    OUTPUT_VARIABLE found OUTPUT_STRIP_TRAILING_WHITESPACE RESULT_VARIABLE failed ERROR_QUIET)
  if(failed)
    message(FATAL_ERROR "No torch package: run scripts/test (it installs one) or pass -DSTERNA_TORCH=<site-packages>/torch")
  endif()
  set(STERNA_TORCH ${found} CACHE PATH "Folder of the torch Python package" FORCE)
endif()
file(STRINGS ${STERNA_TORCH}/version.py version REGEX "^__version__")
message(STATUS "LibTorch: ${STERNA_TORCH} (${version})")

foreach(lib c10 torch_cpu torch)
  add_library(wheel_${lib} SHARED IMPORTED)
  set_target_properties(wheel_${lib} PROPERTIES IMPORTED_LOCATION ${STERNA_TORCH}/lib/lib${lib}.so)
endforeach()
add_library(sterna_torch INTERFACE)
add_library(sterna::torch ALIAS sterna_torch)
target_include_directories(sterna_torch SYSTEM INTERFACE
  ${STERNA_TORCH}/include ${STERNA_TORCH}/include/torch/csrc/api/include)
target_compile_definitions(sterna_torch INTERFACE
  USE_DISTRIBUTED USE_C10D USE_C10D_GLOO)
# libstdc++ first: libtorch_cpu exports a std::filesystem of its own, whose remove_all() jumps to a
# null address; whichever library is named first on the link line wins at run time.
target_link_libraries(sterna_torch INTERFACE stdc++ wheel_torch wheel_torch_cpu wheel_c10)

if(STERNA_CUDA)
  find_program(STERNA_NVCC nvcc PATHS /usr/local/cuda/bin)
  if(STERNA_NVCC)
    set(CMAKE_CUDA_COMPILER ${STERNA_NVCC})
    set(CMAKE_CUDA_ARCHITECTURES 80-real 90a-real)
    # The wheel's runtime, which libtorch loads anyhow: a static one would be a second runtime
    # whose symbols the linker mixes with the first's.
    set(CMAKE_CUDA_RUNTIME_LIBRARY None)
    enable_language(CUDA)
    set(CMAKE_CUDA_STANDARD 17)  # CMake 3.25 knows no CUDA20 for this nvcc
    set(STERNA_HAS_NVCC ON)
    file(GLOB cudart ${STERNA_TORCH}/../nvidia/cu*/lib/libcudart.so.*)
    add_library(wheel_cudart SHARED IMPORTED)
    set_target_properties(wheel_cudart PROPERTIES IMPORTED_LOCATION "${cudart}")
  else()
    message(STATUS "No nvcc: CUDA sources are left out")
  endif()
endif()
