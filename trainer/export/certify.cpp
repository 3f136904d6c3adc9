#include "trainer/export/certify.h"

#include <set>

#include <nlohmann/json.hpp>

#include "trainer/export/export.h"
#include "trainer/export/tensors.h"
#include "trainer/io/atomic_file.h"
#include "trainer/io/checksums.h"
#include "trainer/io/json.h"
#include "trainer/io/sha256.h"

namespace sterna::exporter {

namespace {

namespace fs = std::filesystem;
using nlohmann::json;

std::string hash_of(const at::Tensor& tensor) {
  const at::Tensor t = tensor.contiguous();
  return io::sha256_hex({static_cast<const std::byte*>(t.const_data_ptr()), t.nbytes()});
}

// The checksum covers the text of everything else, in the one way that dump() spells it.
std::string signed_text(json certificate) {
  certificate.erase("sha256");
  const std::string body = certificate.dump(1);
  certificate["sha256"] = io::sha256_hex(std::as_bytes(std::span(body)));
  return certificate.dump(1) + "\n";
}

/// A block type that gives back values and no codes.
bool in_blocks(const std::string& storage) {
  return storage == "Q8_0" || storage == "Q5_0" || storage == "Q4_0";
}

std::unique_ptr<Format> format_of(const fs::path& folder, std::string& name) {
  for (const std::string& candidate : formats().names()) {
    auto format = formats().make_default(candidate);
    if (format->recognises(folder)) {
      name = candidate;
      return format;
    }
  }
  throw recipes::UserError(
      folder.string() +
      ": holds none of sterna.json, model.safetensors and model.gguf, so it is no export; "
      "give the folder that `sterna export` or a run's export made");
}

/// Gathers differences while walking through an export.
class Comparison {
 public:
  Comparison(const fs::path& folder, const ExportSource& source)
      : folder_(folder), source_(source) {}

  Certificate run() {
    std::string name;
    const std::unique_ptr<Format> format = format_of(folder_, name);
    const json files = check_files();
    check_old_certificate();
    json activations;  // null: none, or none in this layout
    try {
      const ReadBack found = format->read(folder_);
      // First: it concerns the whole model, and the list of differences may be cut.
      const model::Activations& got = found.weights.activations;
      // Where only some are stored, those that lack were left out because somebody said so.
      const bool both = !got.recipe.empty() && !source_.weights.activations.recipe.empty();
      if (format->activations() == KeepsActivations::kYes || both)
        activations = compare_activations(got);
      else if (!got.recipe.empty())
        activations = got.recipe;
      compare(found);
    } catch (const recipes::UserError& error) {
      report(error.what());
    }
    const json certificate = {{"format", 1},
                              {"export_format", name},
                              {"origin", source_.origin},
                              {"files", files},
                              {"tensors", tensors_},
                              {"activations", activations},
                              {"max_abs_dw", max_abs_dw_},
                              {"kld", nullptr}};
    return {std::move(mismatches_),
            signed_text(certificate),
            static_cast<int64_t>(tensors_.size()),
            with_codes_};
  }

 private:
  void report(std::string line) { mismatches_.push_back(std::move(line)); }

  json check_files() {
    json files = json::object();
    std::string found;
    std::string listed;
    try {
      found = io::checksums_of(folder_);
      listed = io::read_text(folder_ / io::kChecksums);
    } catch (const recipes::UserError& error) {
      report(error.what());
      return files;
    }
    std::set<std::string> lines;
    for (size_t at = 0, end = 0; at < listed.size(); at = end + 1) {
      end = std::min(listed.find('\n', at), listed.size());
      lines.insert(listed.substr(at, end - at));
    }
    for (size_t at = 0; at < found.size(); at = found.find('\n', at) + 1) {
      const std::string line = found.substr(at, found.find('\n', at) - at);
      files[line.substr(66)] = line.substr(0, 64);
      if (lines.count(line) == 0)
        report("file " + line.substr(66) + ": its SHA-256 is not the one in SHA256SUMS");
    }
    if (found != listed && mismatches_.empty())
      report("file SHA256SUMS: is not the list of this folder's files");
    return files;
  }

  void check_old_certificate() {
    const fs::path path = folder_ / "certificate.json";
    if (!fs::exists(path))
      return;
    try {
      const json old = io::read_json(path);
      if (!old.is_object() || signed_text(old) != io::read_text(path))
        report(
            "file certificate.json: damaged (its own checksum fails); remove it and verify again");
    } catch (const std::exception& error) {
      report(std::string("file certificate.json: damaged: ") + error.what());
    }
  }

  void compare(const ReadBack& found) {
    const std::vector<std::string> names = source_.names();
    for (const std::string& name : names) {
      const auto it = found.weights.tensors.find(name);
      if (it == found.weights.tensors.end())
        report("tensor " + name + ": missing in the export");
      else
        compare_tensor(name, source_.take(name), it->second, found);
    }
    for (const auto& [name, tensor] : found.weights.tensors) {
      if (std::find(names.begin(), names.end(), name) == names.end())
        report("tensor " + name + ": is not in the checkpoint");
    }
  }

  json compare_activations(const model::Activations& found) {
    const model::Activations& expected = source_.weights.activations;
    if (expected.recipe != found.recipe)
      report("activations: rounded by\n" + found.recipe + "in the export, by\n" + expected.recipe +
             "in the checkpoint");
    for (const auto& [name, value] : expected.state) {
      const auto it = found.state.find(name);
      same(name, "learned", value, it == found.state.end() ? at::Tensor() : it->second);
    }
    for (const auto& [name, value] : found.state)
      if (expected.state.count(name) == 0)
        report("tensor " + name + ": is not in the checkpoint");
    return found.recipe.empty() ? json() : json(found.recipe);
  }

  void compare_tensor(const std::string& name,
                      const ExportSource::Weight& trained,
                      const at::Tensor& got,
                      const ReadBack& found) {
    const at::Tensor& expected = trained.values;
    const std::string& storage = found.storage.at(name);
    json& entry = tensors_[name];
    entry["storage"] = storage;
    const bool as_numbers = storage.starts_with(kCodesIn);
    if (storage == "codes" || as_numbers) {
      ++with_codes_;
      if (trained.codes && as_numbers)
        compare_numbers(name, *trained.codes, found.weights.encoded.at(name), entry);
      else if (!trained.codes)
        report("tensor " + name + ": has codes that the checkpoint does not have");
      else
        compare_codes(name, *trained.codes, found.weights.encoded.at(name), entry);
      same(name, "weight", expected, got);
    } else if (storage == "q8_0" || in_blocks(storage)) {
      same(name, "weight", expected, got);
    } else if (storage == "BF16" || storage == "F16" || storage == "F32") {
      same(name, "weight", after_rounding(expected, storage), got);
    } else {
      report("tensor " + name + ": stored as " + storage + ", which exports do not use");
    }
    if (storage != "codes" && !as_numbers)
      entry["weight_sha256"] = hash_of(got);
    const double difference = expected.sizes() != got.sizes() || got.numel() == 0
                                  ? 0
                                  : (expected - got).abs().max().item<double>();
    entry["max_abs_dw"] = difference;
    max_abs_dw_ = std::max(max_abs_dw_, difference);
  }

  /// Codes and scales as numbers, whatever container and type hold them; one scale for all may be
  /// written once a row.
  void compare_numbers(const std::string& name,
                       const quant::Encoded& a,
                       const quant::Encoded& b,
                       json& entry) {
    if (a.grid != b.grid || a.zeros.defined() != b.zeros.defined() ||
        (!a.zeros.defined() && a.offset != b.offset))
      return report("tensor " + name + ": its grid is not the one it was trained with");
    // Unsigned codes count from where their container begins.
    const int64_t shift = a.zeros.defined() ? b.code_min - a.code_min : 0;
    same(name, "codes", a.codes.add(shift).to(at::kChar), b.codes);
    same(name, "scales", spread(a.scales, b.scales), b.scales);
    if (a.zeros.defined())
      same(name, "zeros", spread(a.zeros.add(shift), b.zeros), b.zeros);
    entry["codes_sha256"] = hash_of(b.codes);
    entry["scales_sha256"] = hash_of(b.scales);
    if (b.zeros.defined())
      entry["zeros_sha256"] = hash_of(b.zeros);
  }

  static at::Tensor spread(const at::Tensor& from, const at::Tensor& like) {
    return from.numel() == 1 ? from.expand(like.sizes()) : from;
  }

  void compare_codes(const std::string& name,
                     const quant::Encoded& a,
                     const quant::Encoded& b,
                     json& entry) {
    if (a.grid != b.grid || a.bits != b.bits || a.code_min != b.code_min || a.group != b.group ||
        a.scale_dtype != b.scale_dtype || (!a.zeros.defined() && a.offset != b.offset))
      report("tensor " + name + ": its scheme is not the one it was trained with");
    same(name, "codes", a.codes, b.codes);
    same(name, "scales", a.scales, b.scales);
    same(name, "scales_below", a.scales_below, b.scales_below);
    same(name, "zeros", a.zeros, b.zeros);
    same(name, "levels", a.levels, b.levels);
    entry["codes_sha256"] = hash_of(b.codes);
    entry["scales_sha256"] = hash_of(b.scales);
    if (b.scales_below.defined())
      entry["scales_below_sha256"] = hash_of(b.scales_below);
    if (b.zeros.defined())
      entry["zeros_sha256"] = hash_of(b.zeros);
    if (b.levels.defined())
      entry["levels_sha256"] = hash_of(b.levels);
  }

  void same(const std::string& name,
            const char* what,
            const at::Tensor& expected,
            const at::Tensor& got) {
    const std::string who = "tensor " + name + ": " + what;
    if (!expected.defined() && !got.defined())
      return;
    if (!expected.defined() || !got.defined() || expected.sizes() != got.sizes())
      return report(who + " differ in shape");
    if (same_bits(expected, got))
      return;
    // Compared as bits: -0 is not 0, and a NaN equals itself.
    const at::ScalarType bits = expected.element_size() == 4 ? at::kInt : at::kChar;
    const at::Tensor differs =
        expected.contiguous().view(bits).ne(got.contiguous().view(bits)).flatten();
    const int64_t first = differs.to(at::kByte).argmax().item<int64_t>();
    std::string index;
    int64_t rest = first;
    for (int64_t d = expected.dim(); d-- > 0; rest /= expected.size(d))
      index = std::to_string(rest % expected.size(d)) + (index.empty() ? "" : ", ") + index;
    report(who + " differ in " + std::to_string(differs.sum().item<int64_t>()) + " of " +
           std::to_string(differs.numel()) + " elements, first at [" + index + "]: trained " +
           number(expected, first) + ", exported " + number(got, first));
  }

  static std::string number(const at::Tensor& tensor, int64_t at) {
    char text[32];
    std::snprintf(text,
                  sizeof(text),
                  "%.9g",
                  tensor.contiguous().view(-1)[at].to(at::kDouble).item<double>());
    return text;
  }

  fs::path folder_;
  const ExportSource& source_;
  std::vector<std::string> mismatches_;
  json tensors_ = json::object();
  double max_abs_dw_ = 0;
  int64_t with_codes_ = 0;
};

}  // namespace

Certificate certify(const fs::path& folder, const ExportSource& source) {
  return Comparison(folder, source).run();
}

void write_certificate(const fs::path& folder, const Certificate& certificate, const json& kld) {
  TORCH_CHECK(certificate.mismatches.empty(), "certificate: the export does not match");
  json root = json::parse(certificate.text);
  root["kld"] = kld;
  io::write_atomically(folder / "certificate.json", signed_text(root));
}

}  // namespace sterna::exporter
