#pragma once

#include <map>
#include <string>

#include "trainer/run/student.h"

namespace sterna::run {

/// Exponential moving average of all that is trained, masters and quantizers' parameters:
///   average <- keep * average + (1 - keep) * weights    after each applied step
class Average {
 public:
  /// Begins as the student stands. Its quantizers must stay the same objects from here on.
  Average(Student& student, double keep);

  void follow();

  /// Swaps the student's values with the average's.
  void exchange();

  /// By their names in checkpoints.
  const std::map<std::string, Tensor>& tensors() const { return average_; }

  /// Puts back what tensors() once gave, bit for bit.
  /// @throws io::FileError  naming a tensor that is absent or of another shape
  void restore(const std::map<std::string, Tensor>& stored, const std::string& from);

 private:
  Student& student_;
  double keep_;
  std::map<std::string, Tensor> live_;
  std::map<std::string, Tensor> average_;
};

/// The student holds the average's values while this lives.
class AverageInPlace {
 public:
  /// @param average  may be null: nothing is exchanged
  explicit AverageInPlace(Average* average) : average_(average) {
    if (average_ != nullptr)
      average_->exchange();
  }
  ~AverageInPlace() {
    if (average_ != nullptr)
      average_->exchange();
  }
  AverageInPlace(const AverageInPlace&) = delete;
  AverageInPlace& operator=(const AverageInPlace&) = delete;

 private:
  Average* average_;
};

}  // namespace sterna::run
