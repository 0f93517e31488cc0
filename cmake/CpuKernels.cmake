# The inner loops of trm/ops/cpu are compiled once for each instruction set; which one runs is decided
# when the program starts (trm/ops/cpu/isa.cpp).
function(trm_kernel_flags isa)
  # GCC 12 warns of its own AVX-512 headers (maybe-uninitialized) and of wide vector arguments
  # (psabi), which never leave a file here.
  set_source_files_properties(
    trm/ops/cpu/kernels_${isa}.cpp
    PROPERTIES COMPILE_OPTIONS
               "-O3;-ffp-contract=fast;-fno-math-errno;-Wno-maybe-uninitialized;-Wno-psabi;${ARGN}")
endfunction()

trm_kernel_flags(generic)
if(CMAKE_SYSTEM_PROCESSOR MATCHES "x86_64|AMD64")
  set(TRM_AVX2 -mavx2 -mfma)
  set(TRM_AVX512 ${TRM_AVX2} -mavx512f -mavx512bw -mavx512dq -mavx512vl)
  trm_kernel_flags(avx2 ${TRM_AVX2})
  trm_kernel_flags(avx512 ${TRM_AVX512})
  trm_kernel_flags(avx512bf16 ${TRM_AVX512} -mavx512bf16)
  trm_kernel_flags(amx ${TRM_AVX512} -mavx512bf16 -mamx-tile -mamx-bf16 -mamx-int8)
endif()
