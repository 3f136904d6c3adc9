#include "trainer/run/saver.h"

#include <nlohmann/json.hpp>

#include "trainer/io/atomic_file.h"
#include "trainer/io/safetensors.h"
#include "trainer/io/sha256.h"
#include "trainer/run/checkpoint.h"
#include "trainer/run/code_version.h"

namespace sterna::run {
namespace {

namespace fs = std::filesystem;
using nlohmann::json;

/// In host memory, contiguous, and where it is to be a copy, one that nobody else has.
Tensor on_host(const Tensor& values, bool copy) {
  Tensor host = values.cpu().contiguous();
  return copy && host.is_alias_of(values) ? host.clone() : host;
}

/// Runs without ATen, and beside a step.
/// @return  JSON: file name -> SHA-256
std::string write_shard(const fs::path& folder,
                        const std::vector<Part>& parts,
                        int64_t rank,
                        int64_t ranks) {
  if (!fs::is_directory(folder))
    throw recipes::UserError(folder.string() + ": made by rank 0, and not seen by rank " +
                             std::to_string(rank) +
                             "; run.dir has to be on a disk that all machines of the run share");
  std::map<std::string, std::vector<io::TensorToWrite>> files;
  for (const auto& [kind, name, values, rows] : parts)
    files[model::shard_file(kind, rank, ranks)].push_back(
        {name,
         io::Dtype::kF32,
         values.sizes().vec(),
         {static_cast<const std::byte*>(values.const_data_ptr()), values.nbytes()}});
  json hashes = json::object();
  for (auto& [file, tensors] : files) {
    io::write_safetensors(folder / file, std::move(tensors));
    hashes[file] = io::sha256_of_file(folder / file);
  }
  return hashes.dump();
}

/// Counters that ranks keep for tensors of their own.
void merge_states(dist::World& world, model::Manifest& manifest) {
  for (const std::string& other : world.gather_bytes(json(manifest.state).dump()))
    manifest.state.merge(json::parse(other).get<std::map<std::string, double>>());
}

std::string name_of(const model::Manifest& manifest) {
  return (manifest.stage == "blockwise" ? "block-" : "step-") + std::to_string(manifest.step);
}

}  // namespace

/// What is under way. Its folder goes with it, if it is still there.
struct Saver::Job {
  fs::path draft;
  fs::path target;
  model::Manifest manifest;
  Keep keep;
  std::vector<Part> parts;
  bool owner = false;       ///< of the folder: rank 0
  bool publishing = false;  ///< the shards are written
  std::unique_ptr<Errand> errand;
};

void Saver::Drop::operator()(Job* job) const {
  job->errand.reset();      // the thread first
  std::error_code ignored;  // on a disk that fails, the next checkpoint clears it away
  if (job->owner)
    fs::remove_all(job->draft, ignored);
  delete job;
}

void Saver::begin(model::Manifest header, std::vector<Part> parts, const Keep& keep, bool copy) {
  TORCH_CHECK(!job_, "a checkpoint is under way");
  std::unique_ptr<Job, Drop> job(new Job);
  const std::string name = name_of(header);
  job->target = run_ / "checkpoints" / name;
  job->draft = run_ / "checkpoints" / ("." + name + ".tmp");
  job->keep = keep;
  job->owner = world_.rank() == 0;
  header.code_version = code_version();
  header.files.clear();
  merge_states(world_, header);
  WriteShare share = share_parts(std::move(parts), world_);
  header.tensors = std::move(share.all);
  job->manifest = std::move(header);
  Errand::run(world_, [&] {
    if (job->owner) {
      fs::remove_all(job->draft);
      fs::create_directories(job->draft);
    }
    for (Part& part : share.mine)
      part.values = on_host(part.values, copy);
    return std::string();
  });
  job->parts = std::move(share.mine);
  job_ = std::move(job);
  job_->errand = std::make_unique<Errand>(
      world_, [job = job_.get(), rank = world_.rank(), ranks = world_.size()] {
        std::string hashes = write_shard(job->draft, job->parts, rank, ranks);
        job->parts.clear();  // the copy's memory
        return hashes;
      });
}

std::string Saver::under_way() const {
  return job_ ? job_->target.filename().string() : "";
}

std::string Saver::carry_on(bool wait) {
  while (job_) {
    std::optional<std::vector<std::string>> said;
    try {
      said = job_->errand->look(wait);
    } catch (...) {
      job_.reset();
      world_.barrier();  // the first rank that ends ends all, and rank 0 may still be clearing away
      throw;
    }
    if (!said)
      return {};
    if (job_->publishing) {
      const std::string name = job_->target.filename();
      job_.reset();
      return name;
    }
    for (const std::string& hashes : *said)
      job_->manifest.files.merge(json::parse(hashes).get<std::map<std::string, std::string>>());
    publish();
    if (!wait)
      return {};
  }
  return {};
}

void Saver::publish() {
  job_->publishing = true;
  job_->errand = std::make_unique<Errand>(world_, [this, job = job_.get()] {
    if (job->owner) {
      model::write_manifest(job->draft, job->manifest);
      fs::remove_all(job->target);
      io::publish_folder(job->draft, job->target);
      prune_checkpoints(run_, job->keep.last, job->keep.best);
    }
    return std::string();
  });
}

}  // namespace sterna::run
