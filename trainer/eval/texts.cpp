#include "trainer/eval/texts.h"

#include <algorithm>

namespace sterna::eval {

std::vector<EvalText> read_texts(const EvalConfig& config,
                                 const text::Tokenizer& tokenizer,
                                 const model::DecoderConfig& decoder) {
  if (config.stride > config.window)
    throw recipes::UserError("eval.stride: " + std::to_string(config.stride) +
                             " would leave out text between windows of " +
                             std::to_string(config.window) + "; expected stride <= window");
  std::vector<EvalText> texts;
  for (const std::filesystem::path& path : config.text) {
    const std::string name = path.filename().string();
    const bool taken = std::any_of(
        texts.begin(), texts.end(), [&](const EvalText& other) { return other.name == name; });
    if (taken)
      throw recipes::UserError("eval.text: two files are called " + name +
                               ", and results are named after them; rename one");
    data::EvalTextOptions options = config.text_options();
    options.text = {path};
    texts.push_back({name, data::read_eval_ids(options, tokenizer)});
    try {
      require_windows(static_cast<int64_t>(texts.back().ids.size()), config.options(), decoder);
    } catch (const recipes::UserError& error) {
      throw recipes::UserError(path.string() + ": " + error.what());
    }
  }
  return texts;
}

}  // namespace sterna::eval
