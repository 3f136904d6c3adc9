#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "trainer/eval/config.h"

namespace sterna::eval {

/// One file of `eval.text`, tokenized.
struct EvalText {
  std::string name;  ///< of its file; results are named after it
  std::vector<int32_t> ids;
};

/// Reads every file of `eval.text`, each a text of its own.
/// @param decoder  of the model that is to be evaluated on them
/// @throws recipes::UserError  a file that cannot be read or that evaluate() would refuse, two of
///                             one name
std::vector<EvalText> read_texts(const EvalConfig& config,
                                 const text::Tokenizer& tokenizer,
                                 const model::DecoderConfig& decoder);

}  // namespace sterna::eval
