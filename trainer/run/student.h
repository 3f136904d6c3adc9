#pragma once

#include <functional>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "trainer/model/decoder.h"
#include "trainer/run/slot.h"

namespace sterna::run {

/// Builds the quantizer of a parameter, or null where it stays unquantized.
using QuantizerOf = std::function<std::unique_ptr<quant::Quantizer>(const model::Parameter&)>;

/// Which parameters are trained.
struct Freezing {
  std::vector<std::string> patterns;  ///< globs over parameter names
  bool only_quantizers = false;
  bool only_adapters = false;
};

class WeightShards;

/// The model in training: fp32 masters, their quantizers, and the compute weights made of them.
///
/// Wq is computed once per optimizer step from the master, as a constant for autograd; the
/// gradients of all micro-batches gather in fp32 and pass back through the quantizer once. Outside
/// of a step materialize() makes sure that Wq is what decode(encode(master)) gives.
class Student {
 public:
  /// @param masters  fp32 weights by parameter name, in host memory; taken over, not copied. Those
  /// of some rows
  ///                 where own() (sharing.h) says so next
  Student(model::Decoder decoder,
          std::map<std::string, Tensor> masters,
          const QuantizerOf& quantizer_of,
          const Freezing& freezing,
          const Places& places = {});

  model::Decoder& decoder() { return decoder_; }
  const Places& places() const { return places_; }
  std::vector<Slot>& slots() { return slots_; }
  Slot* find(const std::string& name);
  Slot& head() { return slots_[head_]; }  ///< the embedding where tied

  /// Gives the matrices of which `changes` is true new quantizers.
  /// @param init  set them by their masters; else a checkpoint is to be restored into them
  void replace_quantizers(const QuantizerOf& quantizer_of,
                          const std::function<bool(const model::Parameter&)>& changes,
                          bool init);

  /// Lets every quantizer set what it learns from its master.
  void init_quantizers();

  /// From now on only the scales of quantized matrices are trained, their codes and zero points are
  /// constants (EfficientQAT's second stage): value = (code - zero) * scale. Masters become these
  /// values and stay them, so a checkpoint holds the codes. For affine_learned.
  void hold_codes();

  /// Lets compute weights be gathered from the ranks that own their rows; null: every rank has all.
  void share(std::shared_ptr<WeightShards> shards);

  /// Writes Wq (or the cast master) of every slot that changed since. Where weights are shared out,
  /// all ranks call this and the two below together.
  void materialize();

  /// What an optimizer step computes with: see run::materialize_for_step().
  void materialize_for_step(const quant::Progress& at);

  /// Writes the masters as they are, for looking at the model without quantizers; the next
  /// materialize() undoes it.
  void materialize_full_precision();

  /// Stored bits of a quantized weight, scales and zero points included, averaged over weights; 0
  /// where none is quantized.
  double bits_per_weight() const;

  std::vector<Slot*> all();
  std::vector<Slot*> of_layer(int64_t layer);

  /// True where training changes something in this block or before it.
  bool trains_at_or_below(int64_t layer) const;

 private:
  void publish(const std::vector<Slot*>& written);
  void show();

  model::Decoder decoder_;
  Places places_;
  std::vector<Slot> slots_;
  size_t head_ = 0;
  std::shared_ptr<WeightShards> shards_;
};

/// What training changes, by its names in checkpoints; shared with the student.
std::map<std::string, Tensor> trained_tensors(Student& student);

/// True where a pattern of `train.freeze` names this parameter, with or without ".weight".
bool freezes(const std::string& pattern, const std::string& name);

}  // namespace sterna::run
