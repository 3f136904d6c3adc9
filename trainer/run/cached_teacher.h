#pragma once

#include <string>

#include "distill/objective.h"
#include "trainer/run/inputs.h"
#include "trainer/run/teacher_cache.h"
#include "trainer/run/teacher_rows.h"

namespace sterna::run {

struct Session;

/// What a run's steps ask in place of a teacher in memory: answers read from disk, and, where they
/// are hidden states, the teacher's head.
class CachedTeacher {
 public:
  /// @param head  [V, D]; undefined for `topk`
  CachedTeacher(TeacherCache cache, TeacherRows rows, Tensor head);

  /// Fills the teacher's part of what the loss is given.
  /// @throws recipes::UserError, io::FileError  as TeacherCache::row()
  void give(const Inputs& inputs, distill::HeadInputs& head) const;

  /// Mean over the tokens of the teacher's largest probability.
  double mean_confidence(const Inputs& inputs) const;

  const Tensor& head() const { return head_; }

 private:
  TeacherCache cache_;
  TeacherRows rows_;
  Tensor head_;
};

/// How the rows of an opened session with `teacher.cache` lie on disk.
TeacherRows rows_of(const Session& session);

/// How many samples the steps see, and those that are looked at before.
int64_t samples_of(const Session& session);

/// What `teacher.cache` costs, for people.
std::string cache_text(const Session& session);

}  // namespace sterna::run
