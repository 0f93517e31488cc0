// MLX's float32 matmul must go to OpenBLAS: the BLAS inside the wheel is 50 times slower.
#include <string>

#include <dlfcn.h>
#include <gtest/gtest.h>

TEST(Blas, CblasSgemmIsOpenBlas) {
#ifdef __APPLE__
  GTEST_SKIP() << "Accelerate is MLX's BLAS on macOS";
#else
  // The first definition in the search order is the one libmlx.so is bound to.
  void* symbol = dlsym(RTLD_DEFAULT, "cblas_sgemm");
  ASSERT_NE(symbol, nullptr);
  Dl_info info;
  ASSERT_NE(dladdr(symbol, &info), 0);
  EXPECT_NE(std::string(info.dli_fname).find("openblas"), std::string::npos) << info.dli_fname;
#endif
}
