# Run at every build (cmake -DSOURCE=... -DOUTPUT=... -DVERSION=... -P): writes the one source that
# names the commit, and only where it changes, so that a new commit compiles one small file.
cmake_minimum_required(VERSION 3.25)
set(text "sterna ${VERSION}")
execute_process(COMMAND git rev-parse --show-toplevel --short=12 HEAD
  WORKING_DIRECTORY ${SOURCE} OUTPUT_VARIABLE found RESULT_VARIABLE failed ERROR_QUIET
  OUTPUT_STRIP_TRAILING_WHITESPACE)
string(REPLACE "\n" ";" found "${found}")
# A source package unpacked inside somebody else's checkout has no commit of its own.
if(NOT failed AND found)
  list(GET found 0 top)
  file(REAL_PATH "${SOURCE}" source)
  file(REAL_PATH "${top}" top)
  if(top STREQUAL source)
    list(GET found 1 commit)
    execute_process(COMMAND git --no-optional-locks status --porcelain --untracked-files=no
      WORKING_DIRECTORY ${SOURCE} OUTPUT_VARIABLE changed ERROR_QUIET)
    set(dirty "")
    if(changed)
      set(dirty ", dirty")
    endif()
    string(APPEND text " (commit ${commit}${dirty})")
  endif()
endif()
file(CONFIGURE OUTPUT ${OUTPUT} @ONLY CONTENT
"#include \"trainer/run/code_version.h\"

std::string sterna::run::code_version() {
  return \"${text}\";
}
")
