#include "trainer/run/device.h"

#include <cstdlib>
#include <vector>

#include <ATen/Context.h>
#include <c10/core/CachingDeviceAllocator.h>
#include <c10/core/impl/VirtualGuardImpl.h>

#include "recipes/user_error.h"

namespace sterna::run {
namespace {

using recipes::UserError;

/// A variable of the environment and the values under which a library repeats its bits; the first
/// is set where there is none.
struct Variable {
  const char* name;
  std::vector<std::string> values;
};

const std::vector<Variable>& deterministic_variables() {
  static const std::vector<Variable> variables = {{"CUBLAS_WORKSPACE_CONFIG", {":4096:8", ":16:8"}},
                                                  {"NCCL_ALGO", {"Ring"}},
                                                  {"NCCL_PROTO", {"Simple"}}};
  return variables;
}

void require_deterministic(const Variable& variable, const std::string& found) {
  if (std::find(variable.values.begin(), variable.values.end(), found) != variable.values.end())
    return;
  std::string wanted;
  for (const std::string& value : variable.values)
    wanted += (wanted.empty() ? "" : " or ") + value;
  throw UserError("train.deterministic: needs " + std::string(variable.name) + "=" + wanted +
                  ", but the environment says " + variable.name + "=" + found +
                  "; unset it, or set train.deterministic=false");
}

}  // namespace

DevicesFound find_cuda() {
  if (!c10::impl::hasDeviceGuardImpl(at::kCUDA))
    return {};
  return {true, c10::impl::VirtualGuardImpl(at::kCUDA).deviceCount()};
}

at::Device choose_device(const std::string& wanted,
                         const LocalRank& local,
                         const DevicesFound& cuda) {
  if (wanted == "cpu")
    return at::kCPU;
  const std::string said = "train.device: \"" + wanted + "\" ";
  if (!cuda.built)
    throw UserError(said +
                    "needs a program that was built for it, and this one was not: configure with "
                    "-DSTERNA_NCCL=ON and build again, or set train.device=cpu");
  if (cuda.visible == 0)
    throw UserError(said +
                    "needs a GPU and its driver, and this process sees none; look at nvidia-smi "
                    "and CUDA_VISIBLE_DEVICES, or set train.device=cpu");
  if (local.rank >= cuda.visible)
    throw UserError(said + "gives each rank of a host a GPU of its own; expected " +
                    std::to_string(local.ranks) + " for the ranks of this host, found " +
                    std::to_string(cuda.visible) +
                    "; start that many ranks, or let each see all GPUs of its host "
                    "(CUDA_VISIBLE_DEVICES; srun: --gpus-per-node, not --gpus-per-task)");
  return {at::kCUDA, static_cast<at::DeviceIndex>(local.rank)};
}

void use_device(at::Device device) {
  if (!device.is_cpu())
    c10::impl::VirtualGuardImpl(device.type()).setDevice(device);
}

std::optional<int64_t> peak_memory(at::Device device) {
  auto* allocator = dynamic_cast<c10::DeviceAllocator*>(c10::GetAllocator(device.type()));
  if (device.is_cpu() || allocator == nullptr)
    return std::nullopt;
  constexpr auto kAll = static_cast<size_t>(c10::CachingAllocator::StatType::AGGREGATE);
  return allocator->getDeviceStats(device.index()).allocated_bytes[kAll].peak;
}

void set_deterministic_environment() {
  for (const Variable& variable : deterministic_variables()) {
    const char* found = std::getenv(variable.name);
    if (found != nullptr)
      require_deterministic(variable, found);
    else
      setenv(variable.name, variable.values.front().c_str(), /*overwrite=*/0);
  }
}

Deterministic::Deterministic(bool wanted) : wanted_(wanted) {
  if (!wanted_)
    return;
  set_deterministic_environment();
  at::Context& context = at::globalContext();
  context.setDeterministicAlgorithms(true, /*warn_only=*/false);
  context.setDeterministicFillUninitializedMemory(false);  // nothing reads what was not written
  context.setDeterministicCuDNN(true);
  context.setBenchmarkCuDNN(false);
  // Their gradients are summed in whichever order; flash attention and the plain one repeat theirs.
  context.setSDPUseMemEfficient(false);
  context.setSDPUseCuDNN(false);
}

Deterministic::~Deterministic() {
  if (!wanted_)
    return;
  at::Context& context = at::globalContext();
  context.setDeterministicAlgorithms(false, false);
  context.setDeterministicFillUninitializedMemory(true);
  context.setDeterministicCuDNN(false);
  context.setSDPUseMemEfficient(true);
  context.setSDPUseCuDNN(true);
}

}  // namespace sterna::run
