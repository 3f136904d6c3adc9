// Token embedding, blocks, final norm and head of every family: what differs between families is in
// DecoderConfig and FamilyNames.
#include "trainer/model/decoder.h"

#include "quant/panels.h"
#include "trainer/model/block.h"

namespace sterna::model {
namespace {

// A table of rows that is looked up: word positions are no matrix that a product could quantize.
struct RowTable {
  Tensor weight;  // fp32 [P, D]
  Tensor grad;
};

/// Rows of the table, which may be packed.
Tensor words(const quant::Linear& embedding, const Tensor& tokens) {
  const auto* packed = dynamic_cast<const quant::Panels*>(embedding.adapter.get());
  return packed != nullptr ? packed->rows(tokens, embedding.weight.scalar_type())
                           : embed_rows(tokens, embedding.weight, embedding.grad);
}

std::shared_ptr<const kvcache::Attention> attention_of(const DecoderConfig& config) {
  kvcache::Attention attention;
  if (!config.learned_positions)
    attention.rope = std::make_shared<const kvcache::Rope>(config.rope);
  attention.windows = config.windows;
  attention.windows.resize(config.layers, 0);
  return std::make_shared<const kvcache::Attention>(std::move(attention));
}

}  // namespace

struct Decoder::Body {
  DecoderConfig config;
  at::ScalarType dtype;
  std::shared_ptr<const kvcache::Attention> attention;
  quant::Linear embedding;  // [V, D]; as a Linear it also is the tied head
  RowTable positions;       // unused where they are not learned
  quant::Linear project_in, project_out;
  std::vector<Block> blocks;
  Norm norm;
  quant::Linear head;  // unused where tied
  std::shared_ptr<PartGate> gate;

  template <class Compute>
  Tensor in_part(int64_t part, const Compute& compute) const {
    if (!gate)
      return compute();
    gate->enter(part);
    Tensor result = compute();
    gate->leave(part);
    return result;
  }
};

Decoder::Decoder(const DecoderConfig& config, at::ScalarType compute_dtype)
    : body_(std::make_unique<Body>()) {
  const FamilyNames& names = names_of(config.family);
  body_->config = config;
  body_->dtype = compute_dtype;
  body_->attention = attention_of(config);
  body_->embedding.name = names.embedding;
  body_->project_in.name = names.project_in;
  body_->project_out.name = names.project_out;
  body_->blocks.reserve(config.layers);
  for (int64_t i = 0; i < config.layers; ++i)
    body_->blocks.emplace_back(body_->config, i);
  body_->norm.kind = config.norm;
  body_->norm.eps = config.norm_eps;
  body_->head.name = "lm_head";
}

Decoder::~Decoder() = default;
Decoder::Decoder(Decoder&&) noexcept = default;
Decoder& Decoder::operator=(Decoder&&) noexcept = default;

const DecoderConfig& Decoder::config() const {
  return body_->config;
}

std::shared_ptr<const kvcache::Attention> Decoder::attention() const {
  return body_->attention;
}

at::ScalarType Decoder::compute_dtype() const {
  return body_->dtype;
}

Tensor Decoder::embed(const Tensor& tokens, const Tensor& positions) const {
  return body_->in_part(0, [&] {
    Tensor x = words(body_->embedding, tokens);
    if (body_->config.projects_words())
      x = body_->project_in.forward(x);
    if (!body_->config.learned_positions)
      return x;
    const Tensor rows = positions + body_->config.position_offset;
    const Tensor added = embed_rows(rows, body_->positions.weight, body_->positions.grad);
    return x + added.to(x.scalar_type());
  });
}

Tensor Decoder::layer(int64_t index,
                      const Tensor& x,
                      const Tensor& positions,
                      kvcache::Cache& cache,
                      const AttentionOutput& site) const {
  return body_->in_part(index + 1,
                        [&] { return body_->blocks.at(index).forward(x, positions, cache, site); });
}

Tensor Decoder::final_norm(const Tensor& x) const {
  const DecoderConfig& config = body_->config;
  return body_->in_part(config.layers + 1, [&] {
    const Tensor n = config.final_norm ? body_->norm.forward(x, body_->dtype) : x.to(body_->dtype);
    return config.projects_words() ? body_->project_out.forward(n) : n;
  });
}

Tensor Decoder::head(const Tensor& hidden) const {
  const int64_t part = body_->config.tied ? 0 : body_->config.layers + 2;
  return body_->in_part(part, [&] { return head_linear().forward(hidden); });
}

quant::Linear& Decoder::embedding() {
  return body_->embedding;
}

quant::Linear& Decoder::head_linear() {
  return body_->config.tied ? body_->embedding : body_->head;
}

const quant::Linear& Decoder::head_linear() const {
  return body_->config.tied ? body_->embedding : body_->head;
}

Tensor Decoder::hidden(const Tensor& tokens, const Tensor& positions, kvcache::Cache& cache) const {
  Tensor x = embed(tokens, positions);
  for (int64_t i = 0; i < body_->config.layers; ++i)
    x = layer(i, x, positions, cache);
  return final_norm(x);
}

std::vector<quant::Linear*> Decoder::linears() {
  std::vector<quant::Linear*> all;
  for (int64_t i = 0; i < body_->config.layers; ++i) {
    for (quant::Linear* linear : linears_of_layer(i))
      all.push_back(linear);
  }
  return all;
}

std::vector<quant::Linear*> Decoder::linears_of_layer(int64_t index) {
  return body_->blocks.at(index).linears();
}

std::vector<Parameter> Decoder::parameters() {
  const DecoderConfig& c = body_->config;
  const FamilyNames& names = names_of(c.family);
  ParameterList list;
  list.add(body_->embedding, c.vocab, c.embedding_width(), /*bias=*/false);
  if (c.learned_positions)
    list.add_table(std::string(names.positions),
                   body_->positions.weight,
                   body_->positions.grad,
                   {c.max_positions + c.position_offset, c.width});
  if (c.projects_words())
    list.add(body_->project_in, c.width, c.embedding_width(), /*bias=*/false);
  for (Block& block : body_->blocks)
    block.list(list);
  list.stand_in(-1, /*behind=*/true);
  if (c.final_norm)
    list.add(std::string(names.norm), body_->norm, c.width);
  if (c.projects_words())
    list.add(body_->project_out, c.embedding_width(), c.width, /*bias=*/false);
  if (!c.tied)
    list.add(body_->head, c.vocab, c.embedding_width(), /*bias=*/false);
  return list.take();
}

std::vector<ActSite> Decoder::act_sites() {
  std::vector<ActSite> all;
  for (Block& block : body_->blocks)
    block.list_act_sites(all);
  return all;
}

void Decoder::round_heads_together(bool together) {
  for (Block& block : body_->blocks)
    block.round_heads_together(together);
}

void Decoder::set_gate(std::shared_ptr<PartGate> gate) {
  body_->gate = std::move(gate);
}

void Decoder::move_to(at::Device device) {
  for (const Parameter& p : parameters()) {
    for (Tensor* tensor : {p.value, p.grad}) {
      if (tensor->defined())
        *tensor = tensor->to(device);
    }
  }
}

}  // namespace sterna::model
