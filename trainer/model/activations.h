#pragma once

#include <map>
#include <string>
#include <vector>

#include "quant/act_plan.h"
#include "trainer/model/decoder.h"

namespace sterna::model {

/// How a checkpoint's model rounds its activations.
struct Activations {
  std::string recipe;  ///< resolved `[act]` as TOML; empty where nothing is rounded
  std::map<std::string, Tensor> state;  ///< what was learned, fp32, "<site>.act.<name>"
};

/// The resolved `[act]` of a resolved recipe, as Activations has it.
/// @param origin  of the text, for messages
std::string act_recipe(const std::string& resolved, const std::string& origin);

/// Gives every site what the plan says, new; what stood there goes.
/// @throws recipes::RecipeError  for a rule that matches nothing
void attach_activations(Decoder& decoder, const quant::ActPlan& plan);

/// The same as a checkpoint has it, with what was learned.
/// @param origin  the checkpoint, for messages
/// @throws io::FileError  naming what is absent, of another shape, or not understood
void attach_activations(Decoder& decoder,
                        const Activations& activations,
                        const std::string& origin);

/// Another plan for a checkpoint's model: sites that learn the same keep what they learned.
/// @throws recipes::UserError  naming a site that would need training for its range
void replace_activations(Decoder& decoder, const quant::ActPlan& plan);

/// Sites that learn the same as those of a checkpoint start from what these learned.
void inherit_act_state(Decoder& decoder, const std::map<std::string, Tensor>& learned);

/// What the sites have learned; shared with the decoder.
std::map<std::string, Tensor> act_state(Decoder& decoder);

/// Puts stored values in place.
/// @throws io::FileError  naming a tensor that is absent or of another shape
void restore_act_state(Decoder& decoder,
                       const std::map<std::string, Tensor>& stored,
                       const std::string& origin);

/// @throws recipes::UserError  naming a site of the plan that has to be trained before it is used
void require_ready(Decoder& decoder);

/// Switches rounding off for a scope: the model in full precision.
class ActivationsOff {
 public:
  explicit ActivationsOff(Decoder& decoder);
  ~ActivationsOff();
  ActivationsOff(const ActivationsOff&) = delete;
  ActivationsOff& operator=(const ActivationsOff&) = delete;

 private:
  std::vector<ActSite> sites_;
  std::vector<std::shared_ptr<quant::ActQuantizer>> kept_;
};

}  // namespace sterna::model
