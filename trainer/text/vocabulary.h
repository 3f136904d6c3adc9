#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

namespace sterna::text {

/// Pieces by id and ids by piece.
class Vocabulary {
 public:
  Vocabulary() = default;
  /// @param pieces  by id; an empty piece is no entry. Of equal pieces the first one is found.
  explicit Vocabulary(std::vector<std::string> pieces);
  Vocabulary(const Vocabulary&) = delete;
  Vocabulary& operator=(const Vocabulary&) = delete;
  Vocabulary(Vocabulary&&) = default;
  Vocabulary& operator=(Vocabulary&&) = default;

  int64_t size() const { return static_cast<int64_t>(pieces_.size()); }
  /// Empty where there is none.
  const std::string& piece(int32_t id) const;
  std::optional<int32_t> find(std::string_view piece) const;

 private:
  std::vector<std::string> pieces_;
  std::unordered_map<std::string_view, int32_t> ids_;  // views into pieces_
};

}  // namespace sterna::text
