#include "trainer/dist/launch.h"

#include <map>

#include <gtest/gtest.h>

#include "recipes/user_error.h"
#include "trainer/dist/slurm.h"

namespace sterna::dist {
namespace {

using Variables = std::map<std::string, std::string>;

Launch read(const Variables& set) {
  return read_launch([&](const std::string& name) -> std::optional<std::string> {
    const auto at = set.find(name);
    return at == set.end() ? std::nullopt : std::optional(at->second);
  });
}

std::string refusal(const Variables& set) {
  try {
    read(set);
  } catch (const recipes::UserError& error) {
    return error.what();
  }
  return "";
}

#define EXPECT_NAMES(text, part) EXPECT_NE((text).find(part), std::string::npos) << (text)

Variables with(Variables set, const Variables& more) {
  for (const auto& [name, value] : more)
    set[name] = value;
  return set;
}

const Variables kTorchrun = {{"RANK", "5"},
                             {"WORLD_SIZE", "8"},
                             {"LOCAL_RANK", "1"},
                             {"LOCAL_WORLD_SIZE", "4"},
                             {"MASTER_ADDR", "node0"},
                             {"MASTER_PORT", "29400"},
                             {"TORCHELASTIC_USE_AGENT_STORE", "True"},
                             {"TORCHELASTIC_RESTART_COUNT", "2"}};

TEST(Launch, WithoutALauncherIsAWorldOfOneWithoutAStore) {
  const Launch launch = read({});
  EXPECT_EQ(launch.rank, 0);
  EXPECT_EQ(launch.size, 1);
  EXPECT_EQ(launch.port, 0);
  EXPECT_TRUE(launch.launcher.empty());
}

TEST(Launch, ReadsWhatTorchrunSets) {
  const Launch launch = read(kTorchrun);
  EXPECT_EQ(launch.launcher, "torchrun");
  EXPECT_EQ(launch.rank, 5);
  EXPECT_EQ(launch.size, 8);
  EXPECT_EQ(launch.local_rank, 1);
  EXPECT_EQ(launch.local_size, 4);
  EXPECT_EQ(launch.address, "node0");
  EXPECT_EQ(launch.port, 29400);
  EXPECT_TRUE(launch.agent_store);
  EXPECT_EQ(launch.restarts, 2);
  EXPECT_FALSE(read(with(kTorchrun, {{"TORCHELASTIC_USE_AGENT_STORE", "False"}})).agent_store);
}

TEST(Launch, TakesOneRankOfALauncherWithAStoreForAGroup) {
  const Variables one = {
      {"RANK", "0"}, {"WORLD_SIZE", "1"}, {"LOCAL_RANK", "0"}, {"LOCAL_WORLD_SIZE", "1"}};
  EXPECT_TRUE(read(with(kTorchrun, one)).in_group());
  EXPECT_EQ(read(with(kTorchrun, one)).port, 29400);
  EXPECT_FALSE(
      read(with(with(kTorchrun, one), {{"TORCHELASTIC_USE_AGENT_STORE", "False"}})).in_group());
  EXPECT_FALSE(read({}).in_group());
}

TEST(Launch, ReadsWhatMpirunSetsAndNeedsNoAddressOnOneHost) {
  const Variables one_host = {{"OMPI_COMM_WORLD_RANK", "3"},
                              {"OMPI_COMM_WORLD_SIZE", "4"},
                              {"OMPI_COMM_WORLD_LOCAL_RANK", "3"},
                              {"OMPI_COMM_WORLD_LOCAL_SIZE", "4"}};
  const Launch launch = read(one_host);
  EXPECT_EQ(launch.launcher, "mpirun");
  EXPECT_EQ(launch.rank, 3);
  EXPECT_EQ(launch.local_rank, 3);
  EXPECT_EQ(launch.address, "127.0.0.1");
  EXPECT_EQ(launch.port, 29500);
  const Variables two_hosts =
      with(one_host, {{"OMPI_COMM_WORLD_LOCAL_RANK", "1"}, {"OMPI_COMM_WORLD_LOCAL_SIZE", "2"}});
  EXPECT_NAMES(refusal(two_hosts), "MASTER_ADDR");
  EXPECT_EQ(read(with(two_hosts, {{"MASTER_ADDR", "a"}, {"MASTER_PORT", "7"}})).port, 7);
}

const Variables kSrun = {{"SLURM_JOB_ID", "77"},
                         {"SLURM_STEP_ID", "0"},
                         {"SLURM_PROCID", "2"},
                         {"SLURM_NTASKS", "4"},
                         {"SLURM_LOCALID", "0"},
                         {"SLURM_JOB_NODELIST", "gpu[08-11],login1"},
                         {"SLURM_LAUNCH_NODE_IPADDR", "10.0.0.9"}};

TEST(Launch, ReadsWhatSrunSetsAndTakesTheFirstHostOfTheJob) {
  const Launch launch = read(kSrun);
  EXPECT_EQ(launch.launcher, "srun");
  EXPECT_EQ(launch.rank, 2);
  EXPECT_EQ(launch.size, 4);
  EXPECT_EQ(launch.address, "gpu08");
  EXPECT_EQ(launch.port, read(with(kSrun, {{"SLURM_PROCID", "3"}})).port);
  EXPECT_NE(launch.port, read(with(kSrun, {{"SLURM_JOB_ID", "78"}})).port);
  EXPECT_EQ(read(with(kSrun, {{"MASTER_ADDR", "x"}})).address, "x");
  Variables bare = kSrun;
  bare.erase("SLURM_JOB_NODELIST");
  EXPECT_EQ(read(bare).address, "10.0.0.9");
}

TEST(Launch, InABatchScriptWithoutSrunIsAlone) {
  Variables batch = kSrun;
  batch.erase("SLURM_STEP_ID");
  EXPECT_EQ(read(batch).size, 1);
}

TEST(Launch, InTheShellOfSallocIsAlone) {
  // The interactive step, a batch script's, an external one, one that is pending.
  for (const char* step : {"4294967290", "4294967291", "4294967292", "4294967293"})
    EXPECT_EQ(read(with(kSrun, {{"SLURM_STEP_ID", step}, {"SLURM_PROCID", "0"}})).size, 1) << step;
  EXPECT_EQ(read(with(kSrun, {{"SLURM_STEP_ID", "4294967289"}})).size, 4);
}

TEST(Launch, OfAStepWithFewerTasksThanItsJobCountsThoseOfTheStep) {
  const Variables step =
      with(kSrun, {{"SLURM_NTASKS_PER_NODE", "8"}, {"SLURM_STEP_TASKS_PER_NODE", "2(x2)"}});
  const Launch launch = read(with(step, {{"SLURM_NODEID", "1"}}));
  EXPECT_EQ(launch.size, 4);
  EXPECT_EQ(launch.local_size, 2);
}

TEST(Launch, OfNodesWithDifferentNumbersOfTasksCountsThoseOfItsOwn) {
  const Variables uneven =
      with(kSrun, {{"SLURM_NTASKS", "7"}, {"SLURM_TASKS_PER_NODE", "2(x3),1"}});
  EXPECT_EQ(read(with(uneven, {{"SLURM_NODEID", "2"}})).local_size, 2);
  EXPECT_EQ(read(with(uneven, {{"SLURM_NODEID", "3"}})).local_size, 1);
  EXPECT_EQ(read(with(kSrun, {{"SLURM_LOCALID", "1"}})).local_size, 2)
      << "at least those before it";
}

TEST(Launch, ReadsTasksOfANodeAsSlurmWritesThem) {
  EXPECT_EQ(tasks_on_node("2(x3),1", 0), 2);
  EXPECT_EQ(tasks_on_node("2(x3),1", 2), 2);
  EXPECT_EQ(tasks_on_node("2(x3),1", 3), 1);
  EXPECT_EQ(tasks_on_node("4", 0), 4);
  EXPECT_EQ(tasks_on_node("8,16(x2),3", 2), 16);
  for (const char* none : {"", "2(x3", "2(x)", "x", "2(y3)", "-1", ",", "2,,3"})
    EXPECT_EQ(tasks_on_node(none, 1), std::nullopt) << none;
  EXPECT_EQ(tasks_on_node("2(x3),1", 4), std::nullopt);
}

TEST(Launch, KnowsTheNameOfTheJob) {
  EXPECT_EQ(read(with(kTorchrun, {{"TORCHELASTIC_RUN_ID", "abc"}})).job, "abc");
  EXPECT_EQ(read(kSrun).job, "77.0");
  const Variables mpi = {{"OMPI_COMM_WORLD_RANK", "0"}, {"OMPI_COMM_WORLD_SIZE", "1"}};
  EXPECT_EQ(read(with(mpi, {{"PMIX_NAMESPACE", "prterun-a-7@1"}})).job, "prterun-a-7@1");
  const Launch own = read(with(kTorchrun, {{kJobVariable, "f00"}, {"TORCHELASTIC_RUN_ID", "abc"}}));
  EXPECT_EQ(own.job, "f00");
  EXPECT_TRUE(own.own_launcher);
  EXPECT_FALSE(read(kTorchrun).own_launcher);
}

TEST(Launch, ReadsWhichNetworkCardsGlooIsToUse) {
  EXPECT_TRUE(read(kTorchrun).interfaces.empty());
  EXPECT_EQ(read(with(kTorchrun, {{"GLOO_SOCKET_IFNAME", "eth0,ib1"}})).interfaces,
            (std::vector<std::string>{"eth0", "ib1"}));
}

TEST(Launch, TorchrunInsideSrunWins) {
  EXPECT_EQ(read(with(kSrun, kTorchrun)).launcher, "torchrun");
}

TEST(Launch, FindsTheFirstOfSlurmsHosts) {
  EXPECT_EQ(first_host("node[03-05,09],gpu1"), "node03");
  EXPECT_EQ(first_host("node[7,9]"), "node7");
  EXPECT_EQ(first_host("a,b"), "a");
  EXPECT_EQ(first_host("a"), "a");
  EXPECT_EQ(first_host("a,b[1-2]"), "a");
}

TEST(Launch, RefusesHalfOfWhatALauncherSetsAndNamesTheRest) {
  EXPECT_NAMES(refusal({{"RANK", "0"}}), "WORLD_SIZE");
  EXPECT_NAMES(refusal({{"WORLD_SIZE", "2"}}), "RANK");
  EXPECT_NAMES(refusal({{"OMPI_COMM_WORLD_RANK", "0"}}), "OMPI_COMM_WORLD_SIZE");
  EXPECT_NAMES(refusal({{"SLURM_PROCID", "0"}}), "SLURM_NTASKS");
  EXPECT_NAMES(refusal({{"RANK", "0"}, {"WORLD_SIZE", "2"}, {"MASTER_PORT", "1"}}), "MASTER_ADDR");
  EXPECT_NAMES(refusal({{"RANK", "0"}, {"WORLD_SIZE", "2"}, {"MASTER_ADDR", "a"}}), "MASTER_PORT");
}

TEST(Launch, RefusesWhatContradictsItself) {
  EXPECT_NAMES(refusal(with(kTorchrun, {{"RANK", "8"}})), "RANK=8 and WORLD_SIZE=8");
  EXPECT_NAMES(refusal(with(kTorchrun, {{"LOCAL_RANK", "4"}})), "LOCAL_WORLD_SIZE=4");
  EXPECT_NAMES(
      refusal(with(kTorchrun, {{"OMPI_COMM_WORLD_RANK", "1"}, {"OMPI_COMM_WORLD_SIZE", "8"}})),
      "OMPI_COMM_WORLD_RANK=1");
}

TEST(Launch, RefusesWhatIsNoNumber) {
  EXPECT_NAMES(refusal(with(kTorchrun, {{"RANK", "first"}})), "RANK: expected a number");
  EXPECT_NAMES(refusal(with(kTorchrun, {{"WORLD_SIZE", "-1"}})), "WORLD_SIZE");
  EXPECT_NAMES(refusal(with(kTorchrun, {{"MASTER_PORT", "70000"}})), "MASTER_PORT");
  EXPECT_NAMES(refusal(with(kTorchrun, {{"TORCHELASTIC_USE_AGENT_STORE", "yes"}})),
               "True or False");
}

}  // namespace
}  // namespace sterna::dist
