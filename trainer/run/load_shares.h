#pragma once

#include <map>
#include <string>

#include "trainer/model/weight_source.h"
#include "trainer/run/session.h"
#include "trainer/run/sharing.h"

namespace sterna::run {

/// True where every rank reads its rows of the models and no more, matrix after matrix, so that
/// none ever holds a whole model: what is sharded from the first moment. The block-wise stage,
/// which needs whole masters, and losses on masters' ranges, which choose owners, come before the
/// cut.
bool loads_shares(const Session& session);

/// The same of the teacher. One in few bits is rounded before it is shared out.
bool loads_teacher_share(const Session& session);

/// Which parameters every plan from that step on quantizes row by row, or not at all.
CutsByRow cuts_by_row(const quant::Plan& plan, int64_t step);

/// What each rank owns of the student; empty where every rank loads all of it.
/// @param decoder  with its adapters
Shares student_shares(const Session& session, model::Decoder& decoder);

/// Masters in fp32 by parameter name: this rank's rows, or whole where there are no shares.
std::map<std::string, Tensor> load_masters(const Session& session,
                                           model::Decoder& decoder,
                                           model::WeightSource& source,
                                           const Shares& shares);

/// Sets the session's teacher and its shards.
void load_teacher_share(Session& session);

}  // namespace sterna::run
