#pragma once

#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "quant/soft_quantizer.h"
#include "trainer/run/adamw.h"
#include "trainer/run/places.h"
#include "trainer/run/rows.h"

namespace sterna::run {

/// One parameter of the student with all that training adds to it.
struct Slot {
  std::string name;
  /// What this rank owns: master, moments, quantizer and average are of these rows alone, their
  /// tensors' first dimension is theirs. No rows: nothing here counts, another rank has it all.
  Rows rows{};
  std::vector<Rows> rows_by_rank{};  ///< empty where nothing is sharded
  int64_t layer = -1;  ///< block that it belongs to; -1: embeddings; L: final norm and untied head
  bool matrix = false;
  Tensor* value = nullptr;  ///< what the model computes with
  Tensor* grad = nullptr;   ///< fp32, added to by backward; undefined where nothing is trained
  Tensor master;            ///< fp32, where Places::state says
  mutable HostCopy below;   ///< of the master, for its quantizer: see host_master()
  Tensor own_value;         ///< the own rows of `value`; undefined: all of it
  /// fp32: the gradient of the own rows, summed over ranks, where the masters lie; undefined:
  /// `grad`
  Tensor own_grad;
  std::unique_ptr<quant::Quantizer> quantizer;
  bool free = true;  ///< what its quantizer learns may be trained
  bool trains_master = false;
  bool trains_quantizer = false;
  bool stale = true;  ///< `value` lags behind master and quantizer
  /// Null, or the quantizer where `value` is its soft one: not what is evaluated and exported.
  quant::SoftQuantizer* soft = nullptr;
  /// After hold_codes(): codes and zero points that stay; the master follows the scales.
  std::optional<quant::Encoded> held{};
  bool holds_codes = false;  ///< likewise; also where no row is this rank's and nothing is held

  bool trained() const { return trains_master || trains_quantizer; }
  bool absent() const { return rows.count() == 0 && rows.total > 0; }
};

/// Gradient for the own rows.
inline const Tensor& gradient_of(const Slot& slot) {
  return slot.own_grad.defined() ? slot.own_grad : *slot.grad;
}

// ---- materialize.cpp

/// The master in host memory, where quantizers compute. Of what is trained a copy is kept, so that
/// it comes down once however often a step looks at it.
Tensor host_master(const Slot& slot);

/// The compute weight becomes the master, rounded to its dtype.
void write_master(Slot& slot);

/// Writes Wq (or the cast master) of those slots that changed since. @return  those
std::vector<Slot*> materialize(const std::vector<Slot*>& slots);

/// Writes what an optimizer step computes with: the same but for quantizers with a soft value.
std::vector<Slot*> materialize_for_step(const std::vector<Slot*>& slots, const quant::Progress& at);

/// Marks the compute weights of what is trained as outdated.
void touch(const std::vector<Slot*>& slots);

// ---- gradients.cpp

/// Allocates (once) and zeroes the gradient buffers of what is trained.
void zero_grad(const std::vector<Slot*>& slots);

/// Gives the buffers back, so that backward computes no weight gradients there.
void drop_grad(const std::vector<Slot*>& slots);

/// What the optimizer is to move, in a fixed order: masters, each followed by what its quantizer
/// learns. Gradients of Wq pass through the quantizers here; moments are left undefined.
std::vector<Trained> gradients(const std::vector<Slot*>& slots, const quant::Progress& at);

/// Lets quantizers whose soft value the step computed with carry on what they carry.
void advance(const std::vector<Slot*>& slots, const quant::Progress& at);

}  // namespace sterna::run
