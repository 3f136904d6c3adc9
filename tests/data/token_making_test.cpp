// A text tokenized by several processes, here threads: the file is the one that one makes alone.
#include "trainer/data/token_making.h"

#include <algorithm>
#include <barrier>
#include <chrono>
#include <exception>
#include <thread>

#include "tests/data/fixture.h"

namespace sterna::data {
namespace {

/// Where the threads of a crew meet.
class Hall {
 public:
  explicit Hall(int64_t size) : size_(size), barrier_(size), failed_(size) {}

  Crew crew(int64_t rank, std::function<void()> between = {}) {
    const auto together = [this, rank](const std::function<void()>& work) {
      try {
        work();
      } catch (...) {
        failed_[rank] = std::current_exception();
      }
      barrier_.arrive_and_wait();
      for (const std::exception_ptr& each : failed_)
        if (each)
          std::rethrow_exception(each);
    };
    const auto as_first = [this, rank](const std::function<bool()>& ask) {
      if (rank == 0)
        answer_ = ask();
      barrier_.arrive_and_wait();
      const bool answer = answer_;
      barrier_.arrive_and_wait();
      return answer;
    };
    return {rank, size_, together, as_first, std::move(between), /*least_bytes=*/1};
  }

 private:
  int64_t size_;
  std::barrier<> barrier_;
  std::vector<std::exception_ptr> failed_;
  bool answer_ = false;
};

class TokenMaking : public DataTest {
 protected:
  struct Made {
    std::vector<int> calls;  ///< of the tokenizer, by rank
    std::vector<std::string> notes;
    std::vector<std::string> errors;
  };

  DataConfig config_of(const std::string& keys, const std::string& cache) const {
    std::string lines = "[data]\ncache = 'FOLDER/" + cache + "'\n" + keys;
    for (size_t at = lines.find("FOLDER"); at != lines.npos; at = lines.find("FOLDER"))
      lines.replace(at, 6, folder_.path().string());
    recipes::Recipe recipe = recipes::Recipe::parse(lines, "test.toml");
    return read_config(recipe.section("data"));
  }

  Made make(const DataConfig& config,
            int64_t ranks,
            const std::function<void(int64_t)>& between = {},
            uint64_t least_bytes = 1) const {
    Hall hall(ranks);
    Made made{std::vector<int>(ranks), {}, std::vector<std::string>(ranks)};
    std::vector<std::thread> threads;
    for (int64_t rank = 0; rank < ranks; ++rank)
      threads.emplace_back([&, rank] {
        CountingTokenizer own(*inner_);
        own.special_ = tokenizer_->special_;
        Crew crew =
            hall.crew(rank, between ? [&, rank] { between(rank); } : std::function<void()>());
        crew.least_bytes = least_bytes;
        try {
          const std::vector<std::string> notes = tokenize_together(config, own, crew);
          if (rank == 0)
            made.notes = notes;
        } catch (const std::exception& error) {
          made.errors[rank] = error.what();
        }
        made.calls[rank] = own.calls;
      });
    for (std::thread& thread : threads)
      thread.join();
    return made;
  }

  std::map<std::string, std::string> files(const std::string& folder) const {
    std::map<std::string, std::string> found;
    if (std::filesystem::exists(folder_ / folder))
      for (const auto& entry : std::filesystem::directory_iterator(folder_ / folder))
        found[entry.path().filename()] = read_bytes(entry.path());
    return found;
  }

  void write_files() const {
    write("a", long_text() + "\n\n\n" + long_text() + "\n\n" + long_text());
    write("b", "short\n\n\n\n\nThe last tern has no line break");
    std::string lines, pairs;
    for (int i = 0; i < 90; ++i) {
      const std::string words = "tern " + std::to_string(i) + std::string(i % 7 * 3, 'y');
      lines += "{\"text\": \"" + words + "\"}\n" + (i % 9 == 0 ? "\n" : "");
      pairs += "{\"prompt\": \"" + words + "?\", \"response\": \"" + words + "!\"}\n";
    }
    write("lines", lines);
    write("pairs", pairs);
  }
};

const std::vector<std::string> kSources{
    "text = ['FOLDER/a', 'FOLDER/b', 'FOLDER/a']\n",
    "text = ['FOLDER/a', 'FOLDER/b']\nseparator = \"\\n\\n\"\n",
    "text = ['FOLDER/b', 'FOLDER/a']\nseparator = \"\\n\"\nheld_out = 0.3\nstrip = false\n",
    "text = ['FOLDER/lines', 'FOLDER/lines']\nformat = 'jsonl'\n",
    "text = 'FOLDER/pairs'\nformat = 'pairs'\n",
    "text = 'FOLDER/a'\n[[data.blend]]\ntext = 'FOLDER/lines'\nformat = 'jsonl'\n"
    "[[data.blend]]\ntext = 'FOLDER/b'\nseparator = \" \"\n"};

TEST_F(TokenMaking, GivesTheFileThatOneProcessMakesWhateverTheNumber) {
  write_files();
  int number = 0;
  for (const std::string& source : kSources) {
    const std::string alone = "alone" + std::to_string(number);
    open_recipe("[data]\ncache = 'FOLDER/" + alone + "'\n" + source, 8);
    for (const int64_t ranks : {2, 3, 7}) {
      const std::string folder = alone + "-" + std::to_string(ranks);
      const Made made = make(config_of(source, folder), ranks);
      EXPECT_EQ(made.errors, std::vector<std::string>(ranks)) << source;
      EXPECT_EQ(files(folder), files(alone)) << source << ranks;
      EXPECT_EQ(made.notes.size(), files(alone).size());
      tokenizer_->calls = 0;
      open_recipe("[data]\ncache = 'FOLDER/" + folder + "'\n" + source, 8);
      EXPECT_EQ(tokenizer_->calls, 0) << "it is found";
    }
    ++number;
  }
}

TEST_F(TokenMaking, SweepsPartsThatWereLeftLongAgo) {
  write_files();
  const DataConfig config = config_of("text = 'FOLDER/lines'\nformat = 'jsonl'\n", "c");
  EXPECT_EQ(make(config, 2).errors, std::vector<std::string>(2));
  ASSERT_EQ(files("c").size(), 1u);
  const std::string name = files("c").begin()->first;
  const auto leave = [&](const std::string& part, std::chrono::hours ago) {
    std::ofstream(folder_ / "c" / part) << "half";
    std::filesystem::last_write_time(folder_ / "c" / part,
                                     std::filesystem::file_time_type::clock::now() - ago);
  };
  leave(name + ".part-0-of-9", std::chrono::hours(2));
  leave(name + ".part-8-of-9.tmp-77", std::chrono::hours(2));
  leave(name + ".part-1-of-9", std::chrono::hours(0));
  leave("other", std::chrono::hours(2));
  EXPECT_EQ(make(config, 2).errors, std::vector<std::string>(2));
  std::vector<std::string> left;
  for (const auto& [file, bytes] : files("c"))
    left.push_back(file);
  std::vector<std::string> wanted{name, name + ".part-1-of-9", "other"};
  std::sort(wanted.begin(), wanted.end());
  EXPECT_EQ(left, wanted);
}

TEST_F(TokenMaking, EachTokenizesItsShareAndNothingTwice) {
  write_files();
  const std::string lines = "text = 'FOLDER/lines'\nformat = 'jsonl'\n";
  const Made made = make(config_of(lines, "c"), 3);
  EXPECT_EQ(made.calls[0] + made.calls[1] + made.calls[2], 90);
  for (const int calls : made.calls)
    EXPECT_NEAR(calls, 30, 6);
  EXPECT_EQ(make(config_of(lines, "c"), 3).calls, (std::vector<int>{0, 0, 0})) << "it is there";
}

TEST_F(TokenMaking, LeavesSmallTextsAndCountedDocumentsAlone) {
  write_files();
  const std::string lines = "text = 'FOLDER/lines'\nformat = 'jsonl'\n";
  for (const DataConfig& config :
       {config_of(lines + "max_documents = 80\n", "c"), config_of("text = 'FOLDER/none'\n", "c")})
    EXPECT_TRUE(make(config, 2).notes.empty());
  EXPECT_TRUE(make(config_of(lines, "c"), 2, {}, kWorthSharing).notes.empty());
  EXPECT_TRUE(files("c").empty());
}

TEST_F(TokenMaking, WhatStopsOneStopsAllAndNoFileHasItsName) {
  write_files();
  const std::string lines = "text = 'FOLDER/lines'\nformat = 'jsonl'\n";
  const Made made = make(config_of(lines, "c"), 3, [](int64_t rank) {
    if (rank == 2)
      throw std::runtime_error("told to stop");
  });
  for (const std::string& error : made.errors)
    EXPECT_EQ(error, "told to stop");
  EXPECT_TRUE(files("c").empty());
  EXPECT_EQ(make(config_of(lines, "c"), 2).notes.size(), 1u);
}

TEST_F(TokenMaking, ALineThatIsNoObjectIsNamedWhoeverReadsIt) {
  write_files();
  write("bad", read_bytes(folder_ / "lines") + "nonsense\n");
  const Made made = make(config_of("text = 'FOLDER/bad'\nformat = 'jsonl'\n", "c"), 3);
  for (const std::string& error : made.errors)
    EXPECT_NE(error.find("bad:101: expected a JSON object"), std::string::npos) << error;
}

}  // namespace
}  // namespace sterna::data
