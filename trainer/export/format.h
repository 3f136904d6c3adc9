#pragma once

#include <filesystem>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "recipes/registry.h"
#include "trainer/export/prospect.h"
#include "trainer/export/source.h"

namespace sterna::exporter {

/// Begins a tensor's storage where its codes lie in a container that is not the scheme's own.
inline constexpr const char* kCodesIn = "codes in ";

/// What a reader of an export gets.
struct ReadBack {
  model::Weights weights;
  /// By tensor name: "codes", the scheme as it was trained; "codes in 4 bits", the same numbers in
  /// another container; "q8_0", "BF16", ...
  std::map<std::string, std::string> storage;
};

/// What a layout does with activation quantizers.
enum class KeepsActivations {
  kYes,      ///< stores them: who loads the export computes as training did
  kSome,     ///< stores those that it has words for; why_not() and write() tell which it has not
  kDropped,  ///< leaves them out, as its settings ask
  kRefused,  ///< has no place for them, and nobody said that they may be left out
};

/// A file layout. Configuration, tokenizer and checksums are the same for all and not its concern.
class Format {
 public:
  virtual ~Format() = default;

  /// Adds the files of the weights to `folder`, which exists. What it leaves there as config.json
  /// is added to the model's configuration.
  /// @throws recipes::UserError  where the layout cannot hold the weights, naming the tensor
  virtual void write(const ExportSource& source, const std::filesystem::path& folder) const = 0;

  /// Why the layout cannot hold exactly what a recipe is going to train, beginning with the tensor
  /// or the setting that stands in the way, and what to do; nothing where it can. Whether the
  /// values fit as well (scales beyond a small type's range, say) write() sees.
  virtual std::optional<std::string> why_not(const Prospect& prospect) const;

  /// True where write() refuses what why_not() objects to; else it rounds, as it declares.
  virtual bool refuses_inexact() const { return false; }

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
