#pragma once

#include <csignal>
#include <cstdint>
#include <cstring>
#include <ucontext.h>

namespace sterna::kernels {

/// AMX's tiles in software, by Intel's manual (Architecture Instruction Set Extensions, chapter 3):
/// while one of these lives, tile instructions that the processor refuses are carried out by the
/// signal's handler, on this thread's tiles. Only the forms that compilers write, only bytes.
class AmxEmulator {
 public:
  AmxEmulator() {
    struct sigaction action = {};
    action.sa_sigaction = handle;
    action.sa_flags = SA_SIGINFO;
    sigaction(SIGILL, &action, &before_);
    state() = State{};
  }
  ~AmxEmulator() { sigaction(SIGILL, &before_, nullptr); }
  AmxEmulator(const AmxEmulator&) = delete;
  AmxEmulator& operator=(const AmxEmulator&) = delete;

  static int64_t products() { return state().products; }

 private:
  struct State {
    uint8_t config[64] = {};
    uint8_t tiles[8][16][64] = {};
    int64_t products = 0;

    int rows(int tile) const { return config[48 + tile]; }
    int row_bytes(int tile) const { return config[16 + 2 * tile] | config[17 + 2 * tile] << 8; }
  };

  static State& state() {
    static State one;
    return one;
  }

  /// One instruction: C4, two bytes of prefix, opcode, ModRM, and what addresses memory.
  struct Instruction {
    const uint8_t* code;
    greg_t* registers;

    int prefix() const { return code[2] & 3; }  // none, 66, F3, F2
    int opcode() const { return code[3]; }
    int reg() const { return code[4] >> 3 & 7; }
    int rm() const { return code[4] & 7; }
    int third() const { return ~(code[2] >> 3) & 15; }
    bool memory() const { return code[4] >> 6 != 3; }
    bool indexed() const { return memory() && rm() == 4; }
    bool plausible() const {
      return code[0] == 0xc4 && (code[1] & 31) == 2 && (code[2] & 0x84) == 0;
    }

    int length() const {
      if (!memory())
        return 5;
      const int mode = code[4] >> 6;
      const bool no_base = mode == 0 && (indexed() ? code[5] & 7 : rm()) == 5;
      return 5 + (indexed() ? 1 : 0) + (mode == 1 ? 1 : mode == 2 || no_base ? 4 : 0);
    }
    int64_t displacement() const {
      const uint8_t* at = code + 5 + (indexed() ? 1 : 0);
      int32_t four = 0;
      std::memcpy(&four, at, sizeof four);
      const int bytes = length() - static_cast<int>(at - code);
      return bytes == 1 ? static_cast<int8_t>(*at) : bytes == 4 ? four : 0;
    }
    int64_t value(int number) const {
      static const int kOrder[] = {REG_RAX,
                                   REG_RCX,
                                   REG_RDX,
                                   REG_RBX,
                                   REG_RSP,
                                   REG_RBP,
                                   REG_RSI,
                                   REG_RDI,
                                   REG_R8,
                                   REG_R9,
                                   REG_R10,
                                   REG_R11,
                                   REG_R12,
                                   REG_R13,
                                   REG_R14,
                                   REG_R15};
      return registers[kOrder[number]];
    }
    int index() const { return (code[5] >> 3 & 7) | ((code[1] & 0x40) == 0 ? 8 : 0); }
    /// Bytes between rows; 0 where there is no index.
    int64_t stride() const {
      return indexed() && index() != 4 ? value(index()) << (code[5] >> 6) : 0;
    }
    uint8_t* base() const {
      const int low = indexed() ? code[5] & 7 : rm();
      const bool none = code[4] >> 6 == 0 && low == 5;
      const int64_t next = registers[REG_RIP] + length();
      const int64_t from =
          none ? (indexed() ? 0 : next) : value(low | ((code[1] & 0x20) == 0 ? 8 : 0));
      return reinterpret_cast<uint8_t*>(from + displacement());
    }
  };

  static bool configure(State& s, const Instruction& i) {
    if (i.prefix() == 3 && !i.memory()) {
      std::memset(s.tiles[i.reg()], 0, sizeof s.tiles[0]);
    } else if (i.prefix() == 1) {
      std::memcpy(i.base() + i.stride(), s.config, sizeof s.config);
    } else if (i.prefix() == 0) {
      std::memset(&s.tiles, 0, sizeof s.tiles);
      if (i.memory())
        std::memcpy(s.config, i.base() + i.stride(), sizeof s.config);
      else
        std::memset(s.config, 0, sizeof s.config);
    } else {
      return false;
    }
    return true;
  }

  static bool move(State& s, const Instruction& i) {
    const int tile = i.reg();
    const auto bytes = static_cast<size_t>(s.row_bytes(tile));
    if (s.config[0] != 1 || !i.indexed() || s.rows(tile) == 0)
      return false;
    for (int row = 0; row < s.rows(tile); ++row) {
      uint8_t* memory = i.base() + row * i.stride();
      if (i.prefix() == 3)
        std::memcpy(s.tiles[tile][row], memory, bytes);
      else
        std::memcpy(memory, s.tiles[tile][row], bytes);
    }
    return i.prefix() >= 2;
  }

  /// The first factor's bytes are signed with F3 and F2, the second's with 66 and F2.
  static bool multiply(State& s, const Instruction& i) {
    const int to = i.reg(), a = i.rm(), b = i.third();
    if (s.config[0] != 1 || b > 7 || s.rows(to) == 0 || s.rows(a) != s.rows(to) ||
        s.rows(b) * 4 != s.row_bytes(a) || s.row_bytes(b) != s.row_bytes(to))
      return false;
    const auto take = [](uint8_t byte, bool is_signed) {
      return is_signed ? static_cast<int8_t>(byte) : int{byte};
    };
    for (int m = 0; m < s.rows(to); ++m) {
      for (int n = 0; n < s.row_bytes(to); n += 4) {
        int32_t sum = 0;
        std::memcpy(&sum, &s.tiles[to][m][n], sizeof sum);
        for (int k = 0; k < s.row_bytes(a); ++k)
          sum += take(s.tiles[a][m][k], i.prefix() >= 2) *
                 take(s.tiles[b][k / 4][n + k % 4], i.prefix() == 1 || i.prefix() == 3);
        std::memcpy(&s.tiles[to][m][n], &sum, sizeof sum);
      }
    }
    ++s.products;
    return true;
  }

  static void handle(int, siginfo_t*, void* context) {
    greg_t* registers = static_cast<ucontext_t*>(context)->uc_mcontext.gregs;
    const Instruction i{reinterpret_cast<const uint8_t*>(registers[REG_RIP]), registers};
    State& s = state();
    const bool done = i.plausible() && (i.opcode() == 0x49   ? configure(s, i)
                                        : i.opcode() == 0x4b ? move(s, i)
                                        : i.opcode() == 0x5e ? multiply(s, i)
                                                             : false);
    if (done)
      registers[REG_RIP] += i.length();
    else
      std::signal(SIGILL, SIG_DFL);  // and the instruction is tried again
  }

  struct sigaction before_ = {};
};

}  // namespace sterna::kernels
