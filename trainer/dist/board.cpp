#include "trainer/dist/board.h"

#include <sstream>

namespace sterna::dist {
namespace {

std::vector<uint8_t> bytes_of(const std::string& text) {
  return {text.begin(), text.end()};
}

std::string to_text(const Sign& s) {
  std::ostringstream text;
  text << s.beat << " " << s.step << " " << s.begun << " " << s.ended << " " << (s.left ? 1 : 0)
       << " " << s.process << " " << s.host << " " << s.collective;
  return text.str();
}

Sign parse_sign(const std::string& text) {
  Sign s;
  std::istringstream in(text);
  in >> s.beat >> s.step >> s.begun >> s.ended >> s.left >> s.process >> s.host >> std::ws;
  std::getline(in, s.collective);
  return s;
}

std::string to_text(const Failure& failure) {
  return std::to_string(failure.code) + " " + std::to_string(failure.by) + "\n" + failure.text;
}

Failure parse_failure(const std::string& text) {
  Failure failure;
  std::istringstream(text) >> failure.code >> failure.by;
  failure.text = text.substr(text.find('\n') + 1);
  return failure;
}

}  // namespace

std::string step_text(const Sign& sign) {
  return sign.step < 0 ? "before the first step" : "step " + std::to_string(sign.step + 1);
}

std::string collective_text(const Sign& sign) {
  return "collective " + std::to_string(sign.begun) + " (" + sign.collective + ")";
}

std::string name_of(int64_t rank, const std::optional<Sign>& sign) {
  const std::string name = "rank " + std::to_string(rank);
  return sign ? name + " on " + sign->host + " (process " + std::to_string(sign->process) + ")"
              : name + " (which never appeared)";
}

std::string first_line(const std::string& text) {
  return text.substr(0, text.find('\n'));
}

void Board::write(const std::string& key, const std::string& text) {
  store_->set(key, bytes_of(text));
}

std::optional<std::string> Board::read(const std::string& key) {
  if (!store_->check({key}))
    return std::nullopt;
  const std::vector<uint8_t> bytes = store_->get(key);
  return std::string(bytes.begin(), bytes.end());
}

void Board::put(int64_t rank, const Sign& sign) {
  write("sign/" + std::to_string(rank), to_text(sign));
}

std::optional<Sign> Board::sign(int64_t rank) {
  const auto text = read("sign/" + std::to_string(rank));
  return text ? std::optional(parse_sign(*text)) : std::nullopt;
}

std::vector<std::optional<Sign>> Board::signs() {
  std::vector<std::optional<Sign>> all;
  for (int64_t rank = 0; rank < size_; ++rank)
    all.push_back(sign(rank));
  return all;
}

bool Board::appear(int64_t rank, const Sign& sign) {
  const std::vector<uint8_t> mine = bytes_of(to_text(sign));
  return store_->compareSet("sign/" + std::to_string(rank), {}, mine) == mine;
}

Failure Board::report(const Failure& failure) {
  const std::vector<uint8_t> counts =
      store_->compareSet("failure", std::vector<uint8_t>{}, bytes_of(to_text(failure)));
  return parse_failure({counts.begin(), counts.end()});
}

std::optional<Failure> Board::failure() {
  const auto text = read("failure");
  return text ? std::optional(parse_failure(*text)) : std::nullopt;
}

void Board::put_end(int64_t rank, const std::string& how) {
  write("end/" + std::to_string(rank), how);
}

std::optional<std::string> Board::end_of(int64_t rank) {
  return read("end/" + std::to_string(rank));
}

void Board::warn(const std::string& line) {
  write("warning/" + std::to_string(store_->add("warnings", 1) - 1), line);
}

std::vector<std::string> Board::new_warnings() {
  std::vector<std::string> lines;
  // A line whose number is taken but which is not there yet is read the next time.
  while (const auto line = read("warning/" + std::to_string(warnings_read_))) {
    lines.push_back(*line);
    ++warnings_read_;
  }
  return lines;
}

}  // namespace sterna::dist
