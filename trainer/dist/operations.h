#pragma once

#include <cstdint>

#include <ATen/record_function.h>

namespace sterna::dist {

/// Counts the tensor operations that threads of this process begin, while one is alive. Each costs
/// some 100 ns more then.
class OperationCount {
 public:
  OperationCount();
  ~OperationCount();
  OperationCount(const OperationCount&) = delete;
  OperationCount& operator=(const OperationCount&) = delete;

  /// By all objects so far.
  static int64_t now();

 private:
  at::CallbackHandle handle_;
};

}  // namespace sterna::dist
