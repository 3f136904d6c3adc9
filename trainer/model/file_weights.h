#pragma once

#include <map>
#include <string>

#include "trainer/io/tensor_file.h"
#include "trainer/model/names.h"
#include "trainer/model/weight_source.h"

namespace sterna::model {

/// A tensor of a mapped file in `dtype`, rounded once, a piece at a time; its pages are given back.
/// @throws io::FileError  where it holds no weights, or values that are not finite
Tensor read_values(const io::TensorView& view,
                   const std::filesystem::path& path,
                   at::ScalarType dtype);

/// The parameter that a tensor of a family's file is, with the prefix that old files leave out;
/// empty for what is none (masks, RoPE's frequencies, which the configuration says anyway).
std::string parameter_name(const FamilyNames& names, const std::string& stored);

/// Tensors of one opened file, by the name the model gives them.
class FileWeights : public WeightSource {
 public:
  explicit FileWeights(std::unique_ptr<io::TensorFile> file) : file_(std::move(file)) {}

  std::vector<std::string> names() const override;
  std::vector<int64_t> shape(const std::string& name) const override;
  Tensor take(const std::string& name, at::ScalarType dtype) override;
  std::filesystem::path path() const override { return file_->path(); }

 protected:
  /// @throws io::FileError  where two tensors of the file would have the same name
  void add(const std::string& name, const io::TensorView& view);
  const io::TensorFile& file() const { return *file_; }

 private:
  std::unique_ptr<io::TensorFile> file_;
  std::map<std::string, const io::TensorView*> views_;
};

}  // namespace sterna::model
