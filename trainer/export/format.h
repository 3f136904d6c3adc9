#pragma once

#include <filesystem>
#include <map>
#include <string>
#include <vector>

#include "recipes/registry.h"
#include "trainer/export/source.h"

namespace sterna::exporter {

/// What a reader of an export gets.
struct ReadBack {
  model::Weights weights;
  std::map<std::string, std::string> storage;  ///< "codes", "q8_0", "BF16", ... by tensor name
};

/// What a layout does with activation quantizers.
enum class KeepsActivations {
  kYes,      ///< stores them: who loads the export computes as training did
  kDropped,  ///< leaves them out, as its settings ask
  kRefused,  ///< has no place for them, and nobody said that they may be left out
};

/// A file layout. Configuration, tokenizer and checksums are the same for all and not its concern.
class Format {
 public:
  virtual ~Format() = default;

  /// Adds the files of the weights to `folder`, which exists.
  /// @throws recipes::UserError  where the layout cannot hold the weights, naming the tensor
  virtual void write(const ExportSource& source, const std::filesystem::path& folder) const = 0;

  /// False where the layout stores codes, which a quantized weight has lost once an adapter is
  /// merged into it.
  virtual bool holds_merged() const { return true; }

  /// True where the weights' files say the configuration and the tokenizer too: no others are
  /// written beside them.
  virtual bool is_complete() const { return false; }

  virtual KeepsActivations activations() const { return KeepsActivations::kRefused; }

  /// Name of the dtype that config.json should give.
  virtual std::string dtype() const = 0;

  /// Reads what write() wrote, by the code that loads such a folder for use.
  virtual ReadBack read(const std::filesystem::path& folder) const = 0;

  /// True for a folder that this format wrote.
  virtual bool recognises(const std::filesystem::path& folder) const = 0;

  /// Lines for who exported `folder`: what the layout decided by itself.
  virtual std::vector<std::string> remarks(const std::filesystem::path& folder) const {
    (void)folder;
    return {};
  }
};

inline constexpr const char* kNoMerged =
    "this layout stores codes, and a weight that an adapter is merged into has none; expected a "
    "dense layout: \"dense\"";

inline constexpr const char* kNoActivations =
    "this layout has no place for [act]: who loads it would compute with activations that are not "
    "rounded; expected \"sterna\", or export.format.activations = \"drop\" for the weights alone";

/// Every layout that `--format` may name.
const recipes::Registry<Format>& formats();

}  // namespace sterna::exporter
