#include "trainer/dist/operations.h"

#include <atomic>

namespace sterna::dist {
namespace {

std::atomic<int64_t> g_operations = 0;

std::unique_ptr<at::ObserverContext> count_one(const at::RecordFunction&) {
  g_operations.fetch_add(1, std::memory_order_relaxed);
  return nullptr;
}

}  // namespace

OperationCount::OperationCount()
    : handle_(at::addGlobalCallback(
          at::RecordFunctionCallback(count_one).scopes({at::RecordScope::FUNCTION}))) {}

OperationCount::~OperationCount() {
  at::removeCallback(handle_);
}

int64_t OperationCount::now() {
  return g_operations.load(std::memory_order_relaxed);
}

}  // namespace sterna::dist
