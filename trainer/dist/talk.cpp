#include "trainer/dist/talk.h"

#include <ctime>
#include <fcntl.h>
#include <unistd.h>

namespace sterna::dist {
namespace {

constexpr const char* kWarning = "WARNING";

std::string now_text() {
  const std::time_t now = std::time(nullptr);
  std::tm parts{};
  gmtime_r(&now, &parts);
  char text[32];
  std::strftime(text, sizeof text, "%Y-%m-%dT%H:%M:%SZ", &parts);
  return text;
}

}  // namespace

/// Gathers what is written until it is flushed: a bar that is half drawn is nobody's.
class Talk::Lines final : public std::streambuf {
 public:
  explicit Lines(Talk& talk) : talk_(talk) {}

 protected:
  int overflow(int c) override {
    if (c != traits_type::eof())
      text_ += static_cast<char>(c);
    return c;
  }

  std::streamsize xsputn(const char* from, std::streamsize count) override {
    text_.append(from, static_cast<size_t>(count));
    return count;
  }

  int sync() override {
    std::vector<std::string> warnings;
    {
      const std::lock_guard lock(talk_.mutex_);
      if (talk_.rank_ == 0)
        talk_.console_ << text_ << std::flush;
      for (size_t end = text_.find('\n'); end != std::string::npos; end = text_.find('\n')) {
        const std::string line = text_.substr(0, end);
        text_.erase(0, end + 1);
        const bool warning = line.starts_with(kWarning);
        if (warning || talk_.rank_ != 0)
          talk_.note_locked(line);
        if (warning)
          warnings.push_back(line);
      }
      if (talk_.rank_ == 0)
        text_.clear();
    }
    if (talk_.rank_ != 0 && talk_.listener_)
      for (const std::string& warning : warnings)
        talk_.listener_(warning);
    return 0;
  }

 private:
  Talk& talk_;
  std::string text_;
};

Talk::Talk(int64_t rank, std::ostream& console, std::ostream& errors)
    : rank_(rank),
      console_(console),
      errors_(errors),
      lines_(std::make_unique<Lines>(*this)),
      out_(lines_.get()) {}

Talk::~Talk() = default;

void Talk::keep_in(const std::filesystem::path& file) {
  std::filesystem::create_directories(file.parent_path());
  const std::lock_guard lock(mutex_);
  log_.open(file, std::ios::app);
  folder_ = file.parent_path();
  for (const std::string& line : early_)
    log_ << line << "\n";
  log_ << std::flush;
  early_.clear();
}

void Talk::note_locked(const std::string& line) {
  const std::string dated = now_text() + " " + line;
  if (log_.is_open())
    log_ << dated << std::endl;
  else
    early_.push_back(dated);
}

void Talk::note(const std::string& line) {
  const std::lock_guard lock(mutex_);
  note_locked(line);
}

void Talk::show(const std::string& line) {
  const std::lock_guard lock(mutex_);
  console_ << line << std::endl;
  note_locked(line);
}

void Talk::complain(const std::string& text) {
  const std::lock_guard lock(mutex_);
  console_ << std::flush;
  errors_ << text << std::endl;
  note_locked(text);
}

bool Talk::is_first(const std::string& name) {
  namespace fs = std::filesystem;
  std::error_code error;
  std::unique_lock lock(mutex_);
  const fs::path folder = folder_;
  lock.unlock();
  const fs::path place =
      folder.empty() ? fs::temp_directory_path(error) / ("sterna-" + name) : folder / name;
  for (int i = 0; i < 2; ++i) {
    const int file = open(place.c_str(), O_CREAT | O_EXCL | O_WRONLY | O_CLOEXEC, 0644);
    if (file >= 0 || errno != EEXIST) {
      close(file);
      return true;
    }
    const auto made = fs::last_write_time(place, error);
    if (error || fs::file_time_type::clock::now() - made < std::chrono::minutes(1))
      return false;
    fs::remove(place, error);  // of a job of the same name, long ago
  }
  return false;
}

void Talk::on_warning(std::function<void(const std::string&)> listener) {
  const std::lock_guard lock(mutex_);
  listener_ = std::move(listener);
}

}  // namespace sterna::dist
