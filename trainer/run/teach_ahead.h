#pragma once

namespace sterna::run {

class Progress;
struct Session;

/// Makes the cache of an opened session hold every sample of its steps, for which the teacher is in
/// memory as long as one is missing, and hands the session its cached teacher. Every rank calls it
/// and writes whole parts of what is missing, the same files that one rank alone would write.
/// @throws Interrupted         on all ranks; what was said until then is kept
/// @throws recipes::UserError  no room on the disk, another teacher's folder
void teach_ahead(Session& session, Progress& progress);

}  // namespace sterna::run
