#pragma once

namespace sterna::kernels {

/// How a launch ended. Kernels never throw: the folder that called turns this into a message.
enum class Status {
  kOk,
  kInvalidShape,   ///< negative sizes, a group that does not divide, rows outside the matrix
  kUnsupported,    ///< well-formed, but nothing that this operation can do
  kDeviceFailure,  ///< the CUDA runtime refused the launch
};

}  // namespace sterna::kernels
