// Writes torch's zip format. The pickle is the one torch.save makes of an OrderedDict of tensors.

#include "trm/checkpoint/output.h"
#include "trm/checkpoint/tensor.h"
#include "trm/io/text.h"

namespace trm {

namespace {

/// Emits protocol 2, the one torch's safe loader reads.
class PickleWriter {
 public:
  PickleWriter() { out_ = "\x80\x02"; }
  void op(char c) { out_ += c; }
  void global(std::string_view module, std::string_view name) {
    out_ += fmt::format("c{}\n{}\n", module, name);
  }
  void text(std::string_view s) {
    op('X');
    little(s.size(), 4);
    out_ += s;
  }
  void integer(uint64_t n) {
    if (n < 256) {
      op('K');
      little(n, 1);
    } else if (n < (uint64_t{1} << 31)) {
      op('J');
      little(n, 4);
    } else {  // LONG1; no count reaches the sign bit
      out_ += "\x8a\x08";
      little(n, 8);
    }
  }
  void integers(const std::vector<uint64_t>& values) {
    op('(');
    for (uint64_t v : values) integer(v);
    op('t');
  }
  void boolean(bool b) { op(b ? '\x88' : '\x89'); }
  std::string take() { return std::move(out_); }

 private:
  void little(uint64_t value, int bytes) {
    for (int i = 0; i < bytes; ++i) out_ += static_cast<char>(value >> (8 * i));
  }
  std::string out_;
};

void put_tensor(PickleWriter& p, const OutTensor& t, size_t index) {
  // Types that have a storage class of their own use it, as torch does; the rest go over
  // UntypedStorage.
  const char* storage = info(t.dtype).storage;
  p.global("torch._utils", storage ? "_rebuild_tensor_v2" : "_rebuild_tensor_v3");
  p.op('(');
  p.op('(');
  p.text("storage");
  if (storage) {
    p.global("torch", storage);
  } else {
    p.global("torch.storage", "UntypedStorage");
  }
  p.text(std::to_string(index));
  p.text("cpu");
  p.integer(storage ? t.count() : t.bytes());
  p.op('t');
  p.op('Q');
  p.integer(0);
  p.integers(t.shape);
  p.integers(row_major(t.shape));
  p.boolean(false);
  p.global("collections", "OrderedDict");
  p.op(')');
  p.op('R');
  if (!storage) p.global("torch", name_of(t.dtype));
  p.op('t');
  p.op('R');
}

}  // namespace

void write_torch(const std::filesystem::path& path, const std::vector<OutTensor>& tensors,
                 const WriteOptions& options) {
  PickleWriter pickle;
  pickle.global("collections", "OrderedDict");
  pickle.op(')');
  pickle.op('R');
  pickle.op('(');
  for (size_t i = 0; i < tensors.size(); ++i) {
    if (!is_utf8(tensors[i].name))
      fail("[torch] the name {} is not valid UTF-8; --rename it", printable(tensors[i].name));
    pickle.text(tensors[i].name);
    put_tensor(pickle, tensors[i], i);
  }
  pickle.op('u');
  pickle.op('.');
  std::vector<ZipRecord> records{{"archive/data.pkl", pickle.take(), nullptr},
                                 {"archive/byteorder", "little", nullptr}};
  for (size_t i = 0; i < tensors.size(); ++i)
    records.push_back({fmt::format("archive/data/{}", i), "", &tensors[i]});
  records.push_back({"archive/version", "3\n", nullptr});
  write_zip(path, records, 64, options);
}

}  // namespace trm
