#include "trainer/model/packed_matrix.h"

#include "quant/pack.h"

namespace sterna::model {
namespace {

std::string sizes_text(const std::vector<int64_t>& shape) {
  std::string text;
  for (const int64_t size : shape)
    text += (text.empty() ? "" : ", ") + (size < 0 ? std::string("any") : std::to_string(size));
  return "[" + text + "]";
}

bool shape_fits(const std::vector<int64_t>& found, const std::vector<int64_t>& expected) {
  if (found.size() != expected.size())
    return false;
  for (size_t i = 0; i < found.size(); ++i)
    if (expected[i] >= 0 && found[i] != expected[i])
      return false;
  return true;
}

}  // namespace

const io::TensorView* ModuleParts::find(const std::string& part) const {
  const auto found = parts_.find(part);
  return found == parts_.end() ? nullptr : found->second;
}

const io::TensorView& ModuleParts::need(const std::string& part,
                                        const std::vector<io::Dtype>& dtypes,
                                        const std::vector<int64_t>& shape) const {
  std::string expected;
  for (const io::Dtype dtype : dtypes)
    expected += (expected.empty() ? "" : " or ") + std::string(io::dtype_name(dtype));
  expected += " " + sizes_text(shape);
  const io::TensorView* view = find(part);
  if (view == nullptr)
    refuse(part, "expected " + expected + ", found none");
  for (const io::Dtype dtype : dtypes)
    if (view->dtype == dtype && shape_fits(view->shape, shape))
      return *view;
  refuse(part,
         "expected " + expected + ", found " + std::string(io::dtype_name(view->dtype)) + " " +
             sizes_text(view->shape));
}

void ModuleParts::refuse(const std::string& part, const std::string& what) const {
  throw io::FileError(file_.string() + ": tensor '" + module_ + "." + part + "': " + what +
                      "; does config.json belong to this file, and is it whole?");
}

std::vector<const io::TensorView*> ModuleParts::views() const {
  std::vector<const io::TensorView*> all;
  for (const auto& [part, view] : parts_)
    all.push_back(view);
  return all;
}

int64_t smallest_code(int64_t bits, bool symmetric) {
  return symmetric || bits == 8 ? -(int64_t{1} << (bits - 1)) : 0;
}

Tensor unpack_words(const Tensor& words, int64_t k, int64_t bits, int64_t code_min) {
  const Tensor bytes = words.contiguous().view(at::kByte);
  return quant::unpack_codes(
      bytes.narrow(1, 0, quant::packed_row_bytes(k, bits)).contiguous(), k, bits, code_min);
}

}  // namespace sterna::model
