#pragma once

#include <memory>

#include "tests/support/temp_folder.h"
#include "tests/support/tiny_model.h"
#include "trainer/data/samples.h"
#include "trainer/model/load.h"
#include "trainer/run/student.h"

namespace sterna::run {

/// The shape of the models below: wide enough for the quantizers' default group.
inline tests::TinyModel small_shape(bool tied = false) {
  tests::TinyModel shape;
  shape.tied = tied;
  shape.width = 64;
  shape.inner = 128;
  return shape;
}

/// A student of the checkpoint in `folder`, ready for a forward pass.
inline std::unique_ptr<Student> student_of(const std::filesystem::path& folder,
                                           const Freezing& freezing,
                                           const QuantizerOf& quantizer_of,
                                           const Places& places = {},
                                           at::ScalarType dtype = at::kFloat) {
  const model::CheckpointInfo info = model::inspect(folder);
  auto student = std::make_unique<Student>(model::Decoder(info.config, dtype),
                                           model::read_weights(info).tensors,
                                           quantizer_of,
                                           freezing,
                                           places);
  student->init_quantizers();
  student->materialize();
  zero_grad(student->all());
  return student;
}

/// The same with a small model that is written there first.
inline std::unique_ptr<Student> make_student(const std::filesystem::path& folder,
                                             bool tied,
                                             const Freezing& freezing,
                                             const QuantizerOf& quantizer_of) {
  tests::write_tiny_model(folder, small_shape(tied));
  return student_of(folder, freezing, quantizer_of);
}

inline std::unique_ptr<quant::Quantizer> none(const model::Parameter&) {
  return nullptr;
}

/// affine_learned for every linear of the blocks.
inline std::unique_ptr<quant::Quantizer> learned_in_blocks(const model::Parameter& parameter) {
  const bool wanted = parameter.matrix && parameter.layer >= 0;
  return wanted ? quant::quantizers().make_default("affine_learned") : nullptr;
}

/// The same bytes over and over, which is all that a model needs to be trained on.
class Repeated : public data::SampleSource {
 public:
  explicit Repeated(int64_t length = 16) : length_(length) {}

  int64_t size() const override { return 64; }
  data::Sample at(int64_t index) const override {
    data::Sample sample;
    for (int64_t i = 0; i <= length_; ++i)
      sample.ids.push_back(static_cast<int32_t>((index * 31 + i * i) % 256));
    sample.loss.assign(length_, 1);
    return sample;
  }
  int64_t tokens() const override { return 64 * length_; }
  const std::string& fingerprint() const override { return empty_; }
  const std::string& note() const override { return empty_; }

 private:
  int64_t length_;
  std::string empty_;
};

}  // namespace sterna::run
