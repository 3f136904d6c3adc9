#pragma once

#include "trainer/export/source.h"
#include "trainer/io/gguf_write.h"

namespace sterna::exporter {

/// What llama.cpp asks for to build the model, the divisors of stretched RoPE frequencies included.
/// @throws recipes::UserError  for what GGUF or llama.cpp's architectures cannot say
void write_gguf_config(const ExportSource& source, io::GgufStream& out);

/// Vocabulary, merges or scores, special tokens and the chat template: from tokenizer.json, or
/// copied from a GGUF file. @throws recipes::UserError  naming what llama.cpp does not know
void write_gguf_tokenizer(const ExportSource& source, io::GgufStream& out);

/// Why write_gguf_config() would refuse; empty where it would not.
std::string why_no_gguf(const model::DecoderConfig& config);

}  // namespace sterna::exporter
