# UNTESTED: nobody has run this formula yet (the project is developed on Linux). It follows
# Homebrew's formula cookbook; url and sha256 are those of the release archive to be.
class Trm < Formula
  desc "Tiny Recursive Models: convert, train, evaluate, solve"
  homepage "https://arxiv.org/abs/2510.04871"
  head "https://github.com/trm-cpp/trm.cpp.git", branch: "main"
  license "MIT"

  depends_on "cli11" => :build
  depends_on "cmake" => :build
  depends_on "nlohmann-json" => :build
  depends_on "pkgconf" => :build
  depends_on "cpp-httplib"
  depends_on "fmt"
  depends_on "libdeflate"
  depends_on "mlx"
  depends_on "yaml-cpp"

  uses_from_macos "curl"
  uses_from_macos "zlib"

  def install
    system "cmake", "-S", ".", "-B", "build", "-DTRM_BUILD_TESTS=OFF", *std_cmake_args
    system "cmake", "--build", "build"
    system "cmake", "--install", "build"
  end

  test do
    assert_match version.to_s, shell_output("#{bin}/trm --version")
    system bin/"trm", "dataset", "sudoku", "--size", "4", "--generate", "10", "--output-dir", "data"
  end
end
