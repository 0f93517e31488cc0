// Requests joining and leaving the batch.
#include "trm/serve/batcher.h"

#include <gtest/gtest.h>

#include "tests/serve/fake_engine.h"
#include "trm/eval/evaluate.h"

namespace trm::serve {
namespace {

constexpr auto kLong = std::chrono::seconds(20);

Question question(int mark, int steps) { return {{mark, mark + 1}, 0, steps, false}; }

std::vector<Update> all(Ticket& ticket) {
  std::vector<Update> updates;
  while (updates.empty() || !updates.back().last) {
    auto u = ticket.next(kLong);
    if (!u) break;
    updates.push_back(*u);
  }
  return updates;
}

class BatcherTest : public testing::Test {
 protected:
  std::shared_ptr<Controls> controls_ = std::make_shared<Controls>();
  Batcher batcher_{engines(std::make_unique<FakeEngine>(controls_)), 3, 2};

  // A request that is being worked on, so that what follows waits.
  std::shared_ptr<Ticket> held(int steps = 2) {
    controls_->held = true;
    auto ticket = batcher_.submit(question(100, steps));
    EXPECT_TRUE(eventually([&] { return controls_->rows == 1; }));
    return ticket;
  }
};

TEST_F(BatcherTest, EachRequestGetsItsOwnSteps) {
  auto first = held(4);
  auto second = batcher_.submit(question(7, 2));
  controls_->held = false;
  auto a = all(*first), b = all(*second);
  ASSERT_EQ(a.size(), 4u);
  ASSERT_EQ(b.size(), 2u);
  for (int i = 0; i < 4; ++i) {
    EXPECT_EQ(a[i].step, i + 1);
    EXPECT_EQ(a[i].row.preds, (std::vector<int32_t>{100, 101}));
  }
  EXPECT_EQ(b[1].row.preds, (std::vector<int32_t>{7, 8}));
  EXPECT_TRUE(eventually([&] { return batcher_.stats().finished == 2; }));
  EXPECT_EQ(batcher_.stats().row_steps, 6);
  EXPECT_EQ(controls_->most_rows, 2);  // the second joined the first
}

TEST_F(BatcherTest, AFullQueueRefuses) {
  auto first = held();
  auto a = batcher_.submit(question(1, 1)), b = batcher_.submit(question(2, 1));
  EXPECT_EQ(batcher_.submit(question(3, 1)), nullptr);
  EXPECT_EQ(batcher_.stats().waiting, 2);
  a->cancel();  // who leaves makes room
  EXPECT_NE(batcher_.submit(question(4, 1)), nullptr);
  controls_->held = false;
  EXPECT_EQ(all(*b).size(), 1u);
}

TEST_F(BatcherTest, NoMoreRowsThanAllowed) {
  auto first = held(1);
  std::vector<std::shared_ptr<Ticket>> tickets{first};
  while (auto t = batcher_.submit(question(static_cast<int>(tickets.size()), 3))) {
    tickets.push_back(t);
  }
  controls_->held = false;
  for (auto& t : tickets) EXPECT_FALSE(all(*t).empty());
  EXPECT_LE(controls_->most_rows, 3);
}

TEST_F(BatcherTest, WhoLeavesFreesTheWork) {
  auto first = held(1'000'000);
  first->cancel();
  controls_->held = false;
  EXPECT_TRUE(eventually([&] { return batcher_.stats().cancelled == 1; }));
  EXPECT_EQ(controls_->rows, 0);
  EXPECT_EQ(controls_->steps, 1);
  EXPECT_EQ(first->next(std::chrono::milliseconds(0)), std::nullopt);
}

TEST_F(BatcherTest, EarlyStopEndsAtTheFirstRepeatedAnswer) {
  auto ticket = batcher_.submit({{5, 6}, 0, 16, true});
  EXPECT_EQ(all(*ticket).size(), 2u);
}

TEST_F(BatcherTest, AFailureReachesItsRequestsAndTheNextOnesAreServed) {
  controls_->fails = true;
  auto ticket = batcher_.submit(question(1, 3));
  auto updates = all(*ticket);
  ASSERT_EQ(updates.size(), 1u);
  EXPECT_EQ(updates[0].error, "no memory");
  controls_->fails = false;
  EXPECT_EQ(all(*batcher_.submit(question(1, 3))).size(), 3u);
}

TEST_F(BatcherTest, StoppingEndsEveryRequest) {
  auto first = held(1'000'000);
  auto second = batcher_.submit(question(1, 1));
  batcher_.stop();
  controls_->held = false;
  EXPECT_EQ(all(*second).back().error, "the server is stopping");
  EXPECT_EQ(all(*first).back().error, "the server is stopping");
  EXPECT_EQ(batcher_.submit(question(1, 1)), nullptr);
}

TEST(SeveralEnginesTest, EachRequestGoesToItsOwnAndTheyTakeTurns) {
  auto first = std::make_shared<Controls>(), second = std::make_shared<Controls>();
  second->held = true;
  Batcher batcher(
      engines(std::make_unique<FakeEngine>(first), std::make_unique<FakeEngine>(second)), 1, 3);
  auto b = batcher.submit(question(7, 3), 1);
  ASSERT_TRUE(eventually([&] { return second->steps == 1; }));
  auto waits = batcher.submit(question(8, 1), 1);  // its model's batch is full
  auto a = batcher.submit(question(1, 1'000'000), 0);
  second->held = false;
  EXPECT_EQ(all(*b).back().row.preds, (std::vector<int32_t>{7, 8}));
  EXPECT_EQ(all(*waits).back().row.preds, (std::vector<int32_t>{8, 9}));
  EXPECT_EQ(a->next(kLong)->row.preds, (std::vector<int32_t>{1, 2}));
  EXPECT_TRUE(eventually([&] { return batcher.stats().running == 1; }));
  EXPECT_EQ(second->steps, 4);
  second->fails = true;  // a failing model is no other's
  EXPECT_EQ(all(*batcher.submit(question(9, 1), 1)).back().error, "no memory");
  EXPECT_EQ(a->next(kLong)->error, "");
  a->cancel();
  EXPECT_TRUE(eventually([&] { return batcher.stats().running == 0; }));
}

TEST(LiveBatchTest, AnAttentionModelWorksOnAnotherThread) {
  ArchConfig c;  // with rotations, which are computed when they are first needed
  c.hidden_size = 16;
  c.num_heads = 2;
  c.L_layers = 1;
  c.puzzle_emb_ndim = 16;
  Batcher batcher(
      engines(std::make_unique<LiveBatch>(make_model(c, {16, 6, 1}, mx::random::key(3)))), 2, 2);
  auto updates = all(*batcher.submit({std::vector<int32_t>(16, 1), 0, 2, false}));
  ASSERT_EQ(updates.size(), 2u);
  EXPECT_EQ(updates[0].error, "");
}

TEST(LiveBatchTest, RowsThatComeAndGoAnswerAsInEvaluation) {
  ArchConfig c;
  c.hidden_size = 16;
  c.num_heads = 2;
  c.L_layers = 1;
  c.mlp_t = true;
  c.pos_encodings = PosEncoding::none;
  c.puzzle_emb_ndim = 16;
  c.forward_dtype = "float32";
  auto model = make_model(c, {16, 6, 1}, mx::random::key(3));
  auto ask = [](int seed) {
    Question q;
    for (int i = 0; i < 16; ++i) q.tokens.push_back(1 + (i * seed) % 5);
    return q;
  };
  auto alone = [&](const Question& q, int steps) {
    Batch batch{1, 16, 1, 1, q.tokens, std::vector<int32_t>(16, kIgnoreLabel), {0}, {0}};
    std::optional<Batch> next = batch;
    EvaluateOptions options;
    options.steps = steps;
    options.keep_preds = true;
    return evaluate(
        model, [&] { return std::exchange(next, std::nullopt); }, options);
  };
  LiveBatch live(model);
  auto a = ask(3), b = ask(7), d = ask(11);
  live.join({a, b});
  live.step();
  live.keep({1});
  live.join({d});
  live.step();
  auto rows = live.step();  // b at its third step, d at its second
  ASSERT_EQ(rows.size(), 2u);
  auto eb = alone(b, 3), ed = alone(d, 2);
  EXPECT_EQ(rows[0].preds, eb.preds[2]);
  EXPECT_NEAR(rows[0].q_halt, eb.q_halt[2][0], 1e-4);
  EXPECT_EQ(rows[1].preds, ed.preds[1]);
  EXPECT_NEAR(rows[1].q_halt, ed.q_halt[1][0], 1e-4);
  for (float p : rows[0].confidence) {
    EXPECT_GT(p, 0);
    EXPECT_LE(p, 1);
  }
  live.keep({});
  EXPECT_TRUE(live.step().empty());
}

}  // namespace
}  // namespace trm::serve
