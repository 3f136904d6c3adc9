#include "trainer/run/log.h"

#include <cmath>
#include <cstring>
#include <fcntl.h>
#include <fstream>
#include <sstream>
#include <unistd.h>

#include <nlohmann/json.hpp>

#include "trainer/io/atomic_file.h"
#include "trainer/io/tensor_file.h"

namespace sterna::run {

using nlohmann::json;

JsonLog::JsonLog(const std::filesystem::path& path) : path_(path) {
  file_ = open(path.c_str(), O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0644);
  if (file_ < 0)
    throw io::FileError(path.string() + ": " + std::strerror(errno));
}

JsonLog::~JsonLog() {
  close(file_);
}

void JsonLog::write(const json& line) {
  const std::string text = line.dump() + "\n";
  if (::write(file_, text.data(), text.size()) != static_cast<ssize_t>(text.size()))
    throw io::FileError(path_.string() + ": cannot append: " + std::strerror(errno) +
                        "; is the disk full?");
}

void JsonLog::truncate(const std::filesystem::path& path,
                       const std::function<bool(const json&)>& keep) {
  if (!std::filesystem::exists(path))
    return;
  std::istringstream lines(io::read_text(path));
  std::string kept;
  for (std::string line; std::getline(lines, line);) {
    const json parsed = json::parse(line, nullptr, /*allow_exceptions=*/false);
    if (parsed.is_object() && keep(parsed))
      kept += line + "\n";
  }
  io::write_atomically(path, kept);
}

void Progress::start(const std::string& title, int64_t done, int64_t total, int64_t every) {
  title_ = title;
  every_ = every;
  first_ = done;
  total_ = total;
  watch_.restart();
}

std::string Progress::eta(int64_t done) const {
  if (done <= first_)
    return "?";
  const double each = watch_.seconds() / static_cast<double>(done - first_);
  return clock_text(each * static_cast<double>(total_ - done));
}

void Progress::step(int64_t done, const std::string& text) {
  const std::string count = std::to_string(done) + "/" + std::to_string(total_);
  if (columns_ > 0) {
    constexpr int64_t kWidth = 24;
    const int64_t full = total_ > 0 ? kWidth * done / total_ : kWidth;
    const std::string bar = title_ + " [" + std::string(full, '=') +
                            std::string(kWidth - full, ' ') + "] " + count + "  eta " + eta(done) +
                            "  " + text;
    // What goes over the edge could not be drawn over.
    out_ << "\r\033[K" << bar.substr(0, static_cast<size_t>(columns_ - 1)) << std::flush;
    drawn_ = true;
    if (done == total_) {
      out_ << "\n" << std::flush;
      drawn_ = false;
    }
  } else if (done % every_ == 0 || done == total_ || done == first_ + 1) {
    out_ << title_ << " " << count << "  " << text << "  eta " << eta(done) << std::endl;
  }
}

void Progress::wipe() {
  if (drawn_)
    out_ << "\r\033[K";
  drawn_ = false;
}

void Progress::line(const std::string& text) {
  wipe();
  out_ << text << std::endl;
}

Memory process_memory() {
  Memory memory;
  std::ifstream status("/proc/self/status");
  for (std::string line; std::getline(status, line);) {
    if (line.starts_with("VmRSS:"))
      memory.now = std::stod(line.substr(6)) / 1024;
    if (line.starts_with("VmHWM:"))
      memory.peak = std::stod(line.substr(6)) / 1024;
  }
  return memory;
}

std::string clock_text(double seconds) {
  const auto whole = static_cast<int64_t>(std::lround(seconds));
  char text[32];
  if (whole >= 3600)
    std::snprintf(text,
                  sizeof text,
                  "%ld:%02ld:%02ld",
                  long{whole / 3600},
                  long{whole / 60 % 60},
                  long{whole % 60});
  else
    std::snprintf(text, sizeof text, "%ld:%02ld", long{whole / 60}, long{whole % 60});
  return text;
}

std::string short_number(double value, int digits) {
  char text[32];
  std::snprintf(text, sizeof text, "%.*g", digits, value);
  return text;
}

}  // namespace sterna::run
