// A chat template comes from elsewhere: what it may take has bounds, which no conversation reaches.
#include <gtest/gtest.h>

#include "recipes/user_error.h"
#include "trainer/text/chat.h"

namespace sterna::text {
namespace {

std::string message_of(const std::string& source) {
  const ChatMessage question{"user", "What is a tern?"};
  try {
    render_chat(source, std::span(&question, 1), {}, false);
  } catch (const recipes::UserError& error) {
    return error.what();
  }
  return "";
}

const std::string kDoubled =
    "{% set ns = namespace(s='ab') %}{% for i in range(16) %}{% set ns.s = ns.s ~ ns.s %}"
    "{% endfor %}";

TEST(ChatLimits, WorkAndMemoryBeyondAnyChatAreRefused) {
  const auto repeated = [](const std::string& body) {
    return "{% set ns = namespace(s=[1]) %}{% for i in range(5000) %}" + body + "{% endfor %}";
  };
  const std::pair<std::string, const char*> hostile[] = {
      {"{% for a in range(4000) %}{% for b in range(4000) %}{% endfor %}{% endfor %}", "work"},
      {repeated("{% set ns.s = ns.s + ns.s %}"), "more text or values"},
      {repeated("{% set ns.s = [ns.s, ns.s] %}"), "more text or values"},
      {repeated("{% set ns.s = [ns.s] %}"), "nested too deeply"},
      {repeated("{% set ns.s = ns %}"), "nested too deeply"},
      {repeated("{{ 'a tern is a bird, and a small one, too; some say that it sings' }}"),
       "more text or values"},
      {repeated("{% if messages == messages and range(9999) == range(9999) %}{% endif %}"), "work"},
      {kDoubled + "{{ ns.s | replace('a', ns.s) }}", "too large"},
      {kDoubled + "{{ ns.s | list | length }}", "too long to be taken apart"},
      {kDoubled + "{{ ns.s.split('b') | length }}", "too large"},
      {kDoubled + "{{ range(5000) | join(ns.s) }}", "too large"},
      {kDoubled + "{{ 'abab'.strip(ns.s) }}", "a few characters"},
      {kDoubled + "{% set a = ns.s %}{% set b = ns.s %}", "more text or values"},
      {"{% set l = range(9000) | list %}{% for a in l %}{% set x = [l, l, l] %}{% endfor %}",
       "more text or values"},
  };
  for (const auto& [source, part] : hostile) {
    EXPECT_NE(message_of(source).find(part), std::string::npos) << source << message_of(source);
  }
}

TEST(ChatLimits, ALongConversationIsFarFromThem) {
  std::vector<ChatMessage> messages;
  for (int i = 0; i < 3000; ++i)
    messages.push_back({i % 2 == 0 ? "user" : "assistant", std::string(400, 'x')});
  const std::string plain =
      "{% for m in messages %}{{ '<|im_start|>' + m['role'] + '\n' + m['content'] + '<|im_end|>' + "
      "'\n' }}{% endfor %}";
  EXPECT_EQ(render_chat(plain, messages, {}, false).size(), 3000 * (400 + 24) + 1500 * (4 + 9));
  const std::string looking_back =
      "{% set ns = namespace(text='') %}{% for m in messages[::-1] %}"
      "{% if messages[loop.index0].role != m.role and loop.index0 < messages | length %}"
      "{% set ns.text = ns.text ~ m.content %}{% endif %}{% endfor %}{{ ns.text }}";
  EXPECT_EQ(render_chat(looking_back, messages, {}, false).size(), 3000 * 400);
}

TEST(ChatLimits, NumbersAtTheEndsOfIntegersAreReadAsPythonReadsThemOrRefused) {
  const std::string most = "(999999999999999999 * 9 + 223372036854775816)";  // 2^63 - 1
  const std::string least = "(-" + most + " - 1)";
  const auto shown = [](const std::string& value) {
    return render_chat("{{ " + value + " }}", {}, {}, false);
  };
  EXPECT_EQ(shown(most), "9223372036854775807");
  EXPECT_EQ(shown(least), "-9223372036854775808");
  EXPECT_EQ(shown(least + " // 10"), "-922337203685477581");
  EXPECT_EQ(shown(least + " % 10"), "2");
  EXPECT_EQ(shown(most + " % " + least), "-1");
  EXPECT_EQ(shown("7 // -2"), "-4");
  EXPECT_EQ(shown("7 % -2"), "-1");
  EXPECT_EQ(shown(least + " % -1"), "0");
  EXPECT_EQ(shown(most + " | int"), "9223372036854775807");
  EXPECT_EQ(shown("range(0, " + most + ", " + most + " - 5) | length"), "2");
  EXPECT_EQ(shown("'abc'[1::" + most + "]"), "b");
  EXPECT_EQ(shown("'abc'[::-1]"), "cba");
  for (const std::string& wrong : {least + " // -1",
                                   "-" + least,
                                   "-1 * " + least,
                                   "(1.5 * " + most + ") | int",
                                   std::string("range(1.5)"),
                                   std::string("1.5 is odd"),
                                   std::string("'a b'.split(' ', 0.5)"),
                                   std::string("'abc'[0:1:1:1]"),
                                   std::string("'abc'[:::]")})
    EXPECT_THROW(shown(wrong), recipes::UserError) << wrong;
}

TEST(ChatLimits, ATemplateThatIsNoTextIsRefused) {
  EXPECT_NE(message_of("a \xff b").find("not UTF-8"), std::string::npos);
}

}  // namespace
}  // namespace sterna::text
