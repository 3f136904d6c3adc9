#pragma once

#include <cstdint>
#include <filesystem>
#include <string>
#include <vector>

#include "recipes/recipe.h"
#include "trainer/eval/config.h"
#include "trainer/run/adamw.h"
#include "trainer/run/schedule.h"

namespace sterna::run {

inline constexpr int64_t kMostThreads = 1024;

/// `[run]`: where a run keeps its files.
struct RunConfig {
  std::filesystem::path dir = "runs";
  std::string name;

  template <class Visitor>
  void fields(Visitor& v) {
    v("dir", dir, "folder that holds run folders");
    v("name", name, "this run's folder inside run.dir; default: the recipe's file name");
  }
};

/// `[model]`: the student before training.
struct ModelConfig {
  std::filesystem::path path;
  std::string dtype = "fp32";

  template <class Visitor>
  void fields(Visitor& v) {
    v("path", path, "checkpoint to start from: a Hugging Face folder, a GGUF file or a run folder");
    v("dtype",
      dtype,
      "dtype the student computes in; masters are always fp32",
      recipes::OneOf{"fp32", "bf16"});
  }
};

/// `[teacher]`: only read where the loss or the block-wise stage needs one.
struct TeacherConfig {
  std::filesystem::path path;
  std::string dtype = "fp32";
  std::string cache = "none";
  std::filesystem::path cache_dir;
  int64_t top_k = 64;
  std::string top_dtype = "fp16";

  template <class Visitor>
  void fields(Visitor& v) {
    using recipes::OneOf;
    v("path", path, "teacher checkpoint; default: model.path, that is self-distillation");
    v("dtype", dtype, "dtype the teacher computes in", OneOf{"fp32", "bf16"});
    v("cache",
      cache,
      "what the teacher says is computed once and read from disk: hidden, what its head reads, or "
      "topk, its likeliest words",
      OneOf{"none", "hidden", "topk"});
    v("cache_dir", cache_dir, "folder of that; default: $STERNA_CACHE/teacher, by what it is of");
    v("top_k", top_k, "topk: words of each token", recipes::Range{int64_t{1}, int64_t{1} << 20});
    v("top_dtype", top_dtype, "topk: of the log probabilities", OneOf{"fp16", "fp32"});
  }
};

/// `[train]`: the end-to-end stage.
struct TrainConfig {
  int64_t steps = 0;
  int64_t seq_len = 512;
  int64_t batch = 4;
  int64_t accumulate = 1;
  double lr = 1e-4;
  double lr_quant = 0;
  std::string schedule = "cosine";
  int64_t warmup = 0;
  double lr_final = 0.0;
  double fall = 0.1;
  double second_half = 2.0 / 3;
  std::string optimizer = "adamw";
  double beta1 = 0.9;
  double beta2 = 0.95;
  double eps = 1e-8;
  double weight_decay = 0;
  double clip = 1.0;
  double ema = 0;
  bool ema_use = true;
  std::vector<std::string> freeze;
  std::string only;
  bool recompute = false;
  int64_t seed = 1;
  int64_t threads = 0;
  std::string device = "cpu";
  bool deterministic = false;
  int64_t checkpoint_every = 0;
  bool checkpoint_async = true;
  int64_t keep_last = 2;
  bool keep_best = true;
  int64_t log_every = 10;
  int64_t max_bad_steps = 5;
  double peak_tflops = 0;

  template <class Visitor>
  void fields(Visitor& v) {
    using recipes::OneOf;
    using recipes::Range;
    constexpr int64_t kMany = int64_t{1} << 40;
    v("steps", steps, "optimizer steps of the end-to-end stage", Range{int64_t{0}, kMany});
    v("seq_len", seq_len, "tokens of a sample", Range{int64_t{1}, kMany});
    v("batch", batch, "samples of a micro-batch", Range{int64_t{1}, kMany});
    v("accumulate", accumulate, "micro-batches of a step", Range{int64_t{1}, kMany});
    v("lr", lr, "peak learning rate of weights", Range{0.0, 1e3});
    v("lr_quant", lr_quant, "peak rate of quantizer parameters; 0: as train.lr", Range{0.0, 1e3});
    v("schedule",
      schedule,
      "curve behind the warm-up",
      OneOf{"cosine", "linear", "constant", "wsd", "two_stage", "bert"});
    v("warmup", warmup, "steps of linear warm-up", Range{int64_t{0}, kMany});
    v("lr_final", lr_final, "rate of the last step as a fraction of the peak", Range{0.0, 1.0});
    v("fall",
      fall,
      "wsd: fraction of the steps, the last ones, in which the rate falls",
      Range{0.0, 1.0});
    v("second_half",
      second_half,
      "two_stage: factor of the rate in the second half, where nothing decays",
      Range{0.0, 1.0});
    v("optimizer",
      optimizer,
      "bertadam: no bias correction, train.clip for each tensor on its own",
      OneOf{"adamw", "bertadam"});
    v("beta1", beta1, "AdamW: decay of the mean", Range{0.0, 0.9999999});
    v("beta2", beta2, "AdamW: decay of the squares", Range{0.0, 0.9999999});
    v("eps", eps, "AdamW: added to the root", Range{1e-30, 1.0});
    v("weight_decay", weight_decay, "AdamW: of matrices only", Range{0.0, 1e3});
    v("clip",
      clip,
      "largest gradient norm, of all tensors together; 0: no clipping",
      Range{0.0, 1e9});
    v("ema",
      ema,
      "average of the weights: what it keeps of itself in a step; 0: none",
      Range{0.0, 0.9999999});
    v("ema_use", ema_use, "evaluate and export the average, not the last weights");
    v("freeze", freeze, "patterns of parameter names that stay as they are");
    v("only",
      only,
      "quant: train quantizer parameters alone; scales: end to end, train the scales of "
      "affine_learned alone, under codes that stay (EfficientQAT's second stage)",
      OneOf{"", "quant", "scales"});
    v("recompute", recompute, "recompute activations in backward: less memory, a third more time");
    v("seed", seed, "decides data order and every draw");
    v("threads",
      threads,
      "CPU threads; 0: as STERNA_THREADS says, else all",
      Range{int64_t{0}, kMostThreads});
    v("device",
      device,
      "where student and teacher compute; cuda: every rank of a host on a GPU of its own",
      OneOf{"cpu", "cuda"});
    v("deterministic",
      deterministic,
      "kernels and collectives that repeat their bits; on the CPU all do anyway");
    v("checkpoint_every",
      checkpoint_every,
      "steps between checkpoints; 0: only the last",
      Range{int64_t{0}, kMany});
    v("checkpoint_async",
      checkpoint_async,
      "write checkpoints on the way in a thread, from a copy in host memory, while training goes "
      "on");
    v("keep_last", keep_last, "newest checkpoints to keep", Range{int64_t{1}, kMany});
    v("keep_best", keep_best, "also keep the checkpoint with the lowest evaluated perplexity");
    v("log_every",
      log_every,
      "steps between lines where output is no terminal",
      Range{int64_t{1}, kMany});
    v("max_bad_steps",
      max_bad_steps,
      "steps in a row with NaN or Inf before the run stops",
      Range{int64_t{1}, kMany});
    v("peak_tflops",
      peak_tflops,
      "peak of the device for MFU; 0: unknown, MFU is null",
      Range{0.0, 1e6});
  }

  double quantizer_lr() const { return lr_quant > 0 ? lr_quant : lr; }
  Schedule lr_schedule() const { return {schedule, steps, warmup, lr_final, fall, second_half}; }
  AdamConfig adam() const { return {beta1, beta2, eps, weight_decay, optimizer == "bertadam"}; }
};

/// `[blockwise]`: block after block against the full-precision block, before the end-to-end stage
/// (EfficientQAT's first stage, arXiv:2407.11062).
struct BlockwiseConfig {
  int64_t samples = 0;
  int64_t seq_len = 0;
  int64_t batch = 4;
  int64_t epochs = 1;
  double lr = 2e-5;
  double lr_quant = 1e-4;
  double lr_final = 0.05;
  std::string input = "quantized";
  std::string loss = "mse";
  int64_t checkpoint_every = 10;

  template <class Visitor>
  void fields(Visitor& v) {
    using recipes::OneOf;
    using recipes::Range;
    constexpr int64_t kMany = int64_t{1} << 40;
    v("samples",
      samples,
      "samples that every block sees; 0: no block-wise stage",
      Range{int64_t{0}, kMany});
    v("seq_len", seq_len, "tokens of a sample; 0: as train.seq_len", Range{int64_t{0}, kMany});
    v("batch", batch, "samples of a step", Range{int64_t{1}, kMany});
    v("epochs", epochs, "passes over the samples for each block", Range{int64_t{1}, kMany});
    v("lr", lr, "peak rate of weights; 0 trains quantizer parameters alone", Range{0.0, 1e3});
    v("lr_quant", lr_quant, "peak rate of quantizer parameters", Range{0.0, 1e3});
    v("lr_final", lr_final, "rate of a block's last step as a fraction", Range{0.0, 1.0});
    v("input",
      input,
      "what a block is given: the output of the quantized blocks before it or of the "
      "full-precision ones",
      OneOf{"quantized", "full"});
    v("loss",
      loss,
      "mse, or relative: each token's error divided by its target's power",
      OneOf{"mse", "relative"});
    v("checkpoint_every",
      checkpoint_every,
      "blocks between checkpoints; 0: at the stage's end",
      Range{int64_t{0}, kMany});
  }
};

/// `[dist]`: how the ranks of a run work together.
struct DistConfig {
  std::string strategy = "ddp";
  std::string teacher = "replicated";
  double bucket_mib = 25;
  std::string reduce_dtype = "fp32";
  double timeout = 50;

  bool shards() const { return strategy != "ddp"; }

  template <class Visitor>
  void fields(Visitor& v) {
    using recipes::OneOf;
    v("strategy",
      strategy,
      "ddp: every rank holds all; zero1: its share of masters and optimizer state, zero2: of "
      "gradients too, zero3: of compute weights too",
      OneOf{"ddp", "zero1", "zero2", "zero3"});
    v("teacher",
      teacher,
      "sharded: every rank holds its share of the teacher, gathered layer by layer",
      OneOf{"replicated", "sharded"});
    v("bucket_mib",
      bucket_mib,
      "ddp: gradients are summed over ranks in pieces of this size",
      recipes::Range{0.001, 1e6});
    v("reduce_dtype",
      reduce_dtype,
      "dtype in which gradients travel; sums on their way (ddp's, NCCL's) are in it as well, those "
      "of zero1 to zero3 over Gloo in fp32",
      OneOf{"fp32", "bf16"});
    v("timeout",
      timeout,
      "seconds without a sign of life, or in one collective, after which a rank counts as lost",
      recipes::Range{1.0, 1e6});
  }
};

/// `[memory]`: what lies in host memory while the device does not need it.
struct MemoryConfig {
  std::string offload;

  template <class Visitor>
  void fields(Visitor& v) {
    v("offload",
      offload,
      "activations: inputs of blocks, between their way there and their way back; needs "
      "train.recompute; optimizer: masters and moments, which move there",
      recipes::OneOf{"", "activations", "optimizer"});
  }
};

using eval::EvalConfig;

/// `[verify]`: what a certificate measures beside the bits.
struct VerifyConfig {
  std::filesystem::path text;
  int64_t window = 512;
  int64_t max_windows = 4;
  std::string rope = "fp32";

  template <class Visitor>
  void fields(Visitor& v) {
    using recipes::Range;
    const Range<int64_t> count{0, int64_t{1} << 40};
    v("rope",
      rope,
      "RoPE's frequencies for --expected; bf16: as a model cast as a whole had them",
      recipes::OneOf{"fp32", "bf16"});
    v("text", text, "file on which an export's KL divergence from its run is measured");
    v("window", window, "tokens of a window", Range{int64_t{2}, int64_t{1} << 40});
    v("max_windows", max_windows, "use the first ones; 0: all", count);
  }
};

}  // namespace sterna::run
