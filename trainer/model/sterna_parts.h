#pragma once

#include <map>
#include <set>
#include <string>
#include <vector>

#include "trainer/io/tensor_file.h"
#include "trainer/model/sterna_index.h"

namespace sterna::model {

/// The tensors of sterna.safetensors that an entry stands for; null where it needs none such.
struct SternaParts {
  const SternaEntry* entry = nullptr;
  const io::TensorView* values = nullptr;  ///< plain, blocks or codes
  const io::TensorView* scales = nullptr;
  const io::TensorView* scales_below = nullptr;
  const io::TensorView* zeros = nullptr;
  const io::TensorView* levels = nullptr;
};

/// Finds the parts of every entry and compares shapes and dtypes, before any value is read.
/// Everything throws io::FileError, naming file, tensor and what differs.
class PartFinder {
 public:
  explicit PartFinder(const io::TensorFile& file);

  SternaParts find(const std::string& name, const SternaEntry& entry);

  const io::TensorView& view(const std::string& name);

  /// Refuses a tensor of the file that was not asked for.
  void require_all_used() const;

 private:
  using Shape = std::vector<int64_t>;
  const io::TensorView& view(const std::string& name, io::Dtype dtype, const Shape& shape);
  const io::TensorView& scales(const std::string& name, const SternaEntry& entry);
  void find_codes(const std::string& name, SternaParts& parts);

  const io::TensorFile& file_;
  std::map<std::string, const io::TensorView*> views_;
  std::set<std::string> used_;
};

}  // namespace sterna::model
