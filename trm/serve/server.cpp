#include "trm/serve/server.h"

#include <algorithm>
#include <atomic>
#include <cmath>
#include <random>

#include <fmt/format.h>

#include "trm/io/text.h"
#include "trm/serve/http.h"
#include "trm/serve/puzzles.h"
#include "trm/serve/runs.h"

namespace trm::serve {

namespace {

using httplib::Request;
using httplib::Response;
using Clock = std::chrono::steady_clock;

constexpr auto kPoll = std::chrono::milliseconds(200);  // how soon a closed connection is noticed
constexpr auto kJson = "application/json";

void answer(Response& res, int status, const nlohmann::json& json) {
  res.status = status;
  res.set_content(one_line(json) + "\n", kJson);
}

void refuse(Response& res, int status, const std::string& why) {
  answer(res, status, {{"error", why}, {"status", status}});
  if (status == 429 || status == 503) res.set_header("Retry-After", "2");
}

// Counts itself as long as it lives.
class Slot {
 public:
  explicit Slot(std::atomic<int>& count) : count_(count) { before_ = count_.fetch_add(1); }
  ~Slot() { count_.fetch_sub(1); }
  Slot(const Slot&) = delete;
  Slot& operator=(const Slot&) = delete;
  int before() const { return before_; }

 private:
  std::atomic<int>& count_;
  int before_;
};

// Gives its ticket up however the answer ends.
struct TicketHolder {
  explicit TicketHolder(std::shared_ptr<Ticket> t) : ticket(std::move(t)) {}
  TicketHolder(const TicketHolder&) = delete;
  TicketHolder& operator=(const TicketHolder&) = delete;
  std::shared_ptr<Ticket> ticket;
  ~TicketHolder() { ticket->cancel(); }
};

}  // namespace

struct Server::Impl {
  // Everybody who may be worked for, wait or be refused at a time.
  static int connections(const ServerOptions& o, size_t models) {
    return o.max_rows * static_cast<int>(std::max<size_t>(1, models)) + o.max_waiting +
           o.max_streams + 16;
  }

  Impl(std::vector<ServedModel> models, ServerOptions o)
      : options(std::move(o)), http(options.max_body, connections(options, models.size())) {
    std::vector<std::unique_ptr<Engine>> engines;
    for (auto& m : models) {
      facts.push_back(std::move(m.facts));
      descriptions.push_back(std::move(m.description));
      engines.push_back(std::move(m.engine));
    }
    if (!engines.empty()) {
      batcher.emplace(std::move(engines), options.max_rows, options.max_waiting);
    }
    if (options.runs) runs.emplace(*options.runs);
    http.set_default_headers(
        {{"Content-Security-Policy",
          "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; "
          "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"},
         {"X-Content-Type-Options", "nosniff"},
         {"Referrer-Policy", "no-referrer"},
         {"Cross-Origin-Opener-Policy", "same-origin"},
         {"Cross-Origin-Resource-Policy", "same-origin"},
         {"Cache-Control", "no-store"}});
    http.set_pre_routing_handler([this](const Request& req, Response& res) {
      bool done = route(req, res);
      bool body = req.method != "GET" && req.method != "HEAD";
      if (done && body) close_after_answer(res);
      return done ? httplib::Server::HandlerResponse::Handled
                  : httplib::Server::HandlerResponse::Unhandled;
    });
    http.Post("/api/solve",
              [this](const Request& req, Response& res, const httplib::ContentReader& reader) {
                solve(req, res, reader);
              });
    http.set_exception_handler([](const Request&, Response& res, std::exception_ptr) {
      refuse(res, 500, "[serve] the request could not be answered");
    });
    http.set_error_handler([](const Request&, Response& res) {
      if (!res.body.empty()) return;
      int status = res.status;
      refuse(res, status,
             status == 413   ? "[serve] the body is too large"
             : status == 414 ? "[serve] the address is too long"
                             : "[serve] not a request that can be understood");
    });
  }

  // Everything but POST /api/solve. False for that one.
  bool route(const Request& req, Response& res) {
    if (!host_allowed(req.get_header_value("Host"), options.names)) {
      refuse(res, 403,
             "[serve] the Host header names no address, nor localhost, nor a name given with "
             "--allow-host");
      return true;
    }
    if (!origin_allowed(req.get_header_value("Origin"), req.get_header_value("Host"))) {
      refuse(res, 403, "[serve] requests of other web sites are not answered");
      return true;
    }
    bool get = req.method == "GET" || req.method == "HEAD";
    if (req.path == "/api/solve") {
      if (req.method == "POST") return false;
      res.set_header("Allow", "POST");
      refuse(res, 405, "[serve] POST a puzzle here");
      return true;
    }
    bool known = true;
    if (!get) {
      known = false;
    } else if (req.path == "/healthz") {
      auto stats = batcher ? batcher->stats() : BatcherStats{};
      answer(res, 200, {{"status", "ok"}, {"running", stats.running}, {"waiting", stats.waiting}});
    } else if (req.path == "/api/model") {
      describe(res);
    } else if ((req.path == "/api/example" || req.path == "/api/puzzles") && batcher) {
      known = puzzles(req, res);
    } else if (req.path == "/runs" && runs) {
      res.headers.erase("Content-Security-Policy");
      res.set_header("Content-Security-Policy", runs_policy());
      res.set_content(runs_page(), "text/html; charset=utf-8");
    } else if (req.path == "/api/runs" && runs) {
      answer(res, 200, runs->data());
    } else {
      known = page(req.path, res);
    }
    if (!known) {
      if (!get) res.set_header("Allow", "GET");
      refuse(res, get ? 404 : 405, get ? "[serve] nothing is here" : "[serve] GET only");
    }
    return true;
  }

  // Puzzles to begin with, for the model that ?kind= names (the first, if it names none).
  bool puzzles(const Request& req, Response& res) {
    auto kind = req.get_param_value("kind");
    auto found = std::find_if(facts.begin(), facts.end(),
                              [&](auto& f) { return kind.empty() || to_string(f.kind) == kind; });
    if (found == facts.end()) return false;
    if (req.path == "/api/puzzles") {
      answer(res, 200, {{"kind", to_string(found->kind)}, {"puzzles", puzzle_list(*found)}});
      return true;
    }
    if (!has_examples(*found)) return false;
    uint64_t seed = std::random_device{}();
    answer(res, 200, {{"puzzle", example_puzzle(*found, seed)}, {"seed", seed}});
    return true;
  }

  bool page(const std::string& path, Response& res) {
    for (auto& file : web_files()) {
      if (path == file.path || (path == "/" && std::string_view(file.path) == "/index.html")) {
        res.set_content(file.text.data(), file.text.size(), file.type);
        return true;
      }
    }
    return false;
  }

  void describe(Response& res) {
    auto json = descriptions.empty() ? nlohmann::json::object() : descriptions[0];
    json["models"] = descriptions;
    auto stats = batcher ? batcher->stats() : BatcherStats{};
    json["limits"] = {{"body_bytes", options.max_body},
                      {"steps", facts.empty() ? 0 : facts[0].max_steps},
                      {"batch", options.max_rows},
                      {"waiting", options.max_waiting},
                      {"streams", options.max_streams},
                      {"seconds", static_cast<double>(options.timeout.count()) / 1000}};
    json["running"] = stats.running;
    json["waiting"] = stats.waiting;
    json["finished"] = stats.finished;
    json["cancelled"] = stats.cancelled;
    json["row_steps"] = stats.row_steps;
    json["runs"] = options.runs.has_value();
    answer(res, 200, json);
  }

  void solve(const Request& req, Response& res, const httplib::ContentReader& reader) {
    std::string body;
    bool large = false;
    bool whole = reader([&](const char* data, size_t size) {
      large = body.size() + size > options.max_body;
      if (!large) body.append(data, size);
      return !large;
    });
    if (!whole) {
      close_after_answer(res);
      if (large || res.status == 413) {
        return refuse(res, 413,
                      fmt::format("[serve] the body is larger than {} bytes", options.max_body));
      }
      return refuse(res, 400, "[serve] the body did not arrive whole");
    }
    if (!batcher) return refuse(res, 404, "[serve] no model is served here, only training runs");
    auto type = req.get_header_value("Content-Type");
    if (type.substr(0, type.find(';')) != kJson) {
      return refuse(res, 415, "[serve] the Content-Type must be application/json");
    }
    SolveRequest request;
    try {
      request = parse_solve_request(body, facts);
    } catch (const std::exception& e) {
      return refuse(res, 400, e.what());
    }
    request.stream = request.stream ||
                     req.get_header_value("Accept").find("text/event-stream") != std::string::npos;
    auto slot = request.stream ? std::make_shared<Slot>(streams) : nullptr;
    if (slot && slot->before() >= options.max_streams) {
      return refuse(res, 429,
                    fmt::format("[serve] {} streams are open, the most this server has",
                                options.max_streams));
    }
    auto ticket = batcher->submit(
        {request.tokens, request.identifier, request.steps, request.early_stop}, request.model);
    if (!ticket) {
      return refuse(res, 503, "[serve] too many puzzles are waiting; try again in a moment");
    }
    auto holder = std::make_shared<TicketHolder>(ticket);
    auto start = Clock::now();
    if (request.stream) return stream(std::move(request), holder, slot, start, res);
    whole_answer(req, request, *ticket, start, res);
  }

  nlohmann::json step_json(const SolveRequest& request, const Update& u) const {
    auto sure = nlohmann::json::array();
    for (float c : u.row.confidence) sure.push_back(std::lround(100 * std::clamp(c, 0.0f, 1.0f)));
    return {{"step", u.step},
            {"answer", answer_json(request, u.row.preds.data())},
            {"confidence", std::move(sure)},
            {"halt", 1 / (1 + std::exp(-static_cast<double>(u.row.q_halt)))},
            {"ms", std::round(u.milliseconds * 100) / 100},
            {"batch", u.batch}};
  }

  nlohmann::json end_json(const SolveRequest& request, const nlohmann::json& step,
                          const Update& last, Clock::time_point start) const {
    auto verdict = judge(request, last.row.preds.data());
    std::chrono::duration<double> took = Clock::now() - start;
    nlohmann::json json = {
        {"kind", to_string(request.kind)}, {"puzzle", question_json(request)},
        {"answer", step["answer"]},        {"halt", step["halt"]},
        {"steps_taken", last.step},        {"seconds", std::round(took.count() * 1e4) / 1e4}};
    if (verdict) {
      json["verdict"] = verdict->text;
      json["solved"] = verdict->solved;
    }
    return json;
  }

  std::string out_of_time() const {
    return fmt::format("[serve] no answer within {:g} s",
                       static_cast<double>(options.timeout.count()) / 1000);
  }

  void whole_answer(const Request& req, const SolveRequest& request, Ticket& ticket,
                    Clock::time_point start, Response& res) {
    auto steps = nlohmann::json::array();
    for (;;) {
      auto update = ticket.next(kPoll);
      if (client_gone(req)) return refuse(res, 503, "[serve] the client has gone");
      if (Clock::now() - start > options.timeout) return refuse(res, 503, out_of_time());
      if (!update) continue;
      if (!update->error.empty()) return refuse(res, 503, "[serve] " + update->error);
      steps.push_back(step_json(request, *update));
      if (!update->last) continue;
      auto json = end_json(request, steps.back(), *update, start);
      json["steps"] = std::move(steps);
      return answer(res, 200, json);
    }
  }

  void stream(SolveRequest request, std::shared_ptr<TicketHolder> holder,
              std::shared_ptr<Slot> slot, Clock::time_point start, Response& res) {
    auto shared = std::make_shared<SolveRequest>(std::move(request));
    auto begun = std::make_shared<bool>(false);
    res.set_header("X-Accel-Buffering", "no");
    res.set_chunked_content_provider(
        "text/event-stream",
        [=, this](size_t, httplib::DataSink& sink) {
          auto send = [&](const std::string& text) { return sink.write(text.data(), text.size()); };
          auto end = [&](const std::string& text) {
            bool sent = send(text);
            sink.done();
            return sent;
          };
          auto failed = [&](const std::string& why) {
            return end(sse_event("error", {{"status", 503}, {"error", why}}));
          };
          if (!*begun) {
            *begun = true;
            return send(sse_event("start", {{"kind", to_string(shared->kind)},
                                            {"puzzle", question_json(*shared)},
                                            {"steps", shared->steps}}));
          }
          auto update = holder->ticket->next(kPoll);
          if (!sink.is_writable()) return false;  // the client has gone; the holder cancels
          if (Clock::now() - start > options.timeout) return failed(out_of_time());
          if (!update) return true;
          if (!update->error.empty()) return failed("[serve] " + update->error);
          auto step = step_json(*shared, *update);
          auto text = sse_event("step", step);
          if (!update->last) return send(text);
          return end(text + sse_event("done", end_json(*shared, step, *update, start)));
        },
        [slot](bool) {});
  }

  ServerOptions options;
  std::vector<PuzzleFacts> facts;            // of each model
  std::vector<nlohmann::json> descriptions;  // of each model
  std::atomic<int> streams{0};
  std::optional<Batcher> batcher;
  std::optional<RunsFolder> runs;
  HttpServer http;
};

Server::Server(std::vector<ServedModel> models, ServerOptions options)
    : impl_(std::make_unique<Impl>(std::move(models), std::move(options))) {}

Server::~Server() = default;

int Server::bind() { return impl_->http.bind(impl_->options.host, impl_->options.port); }

void Server::listen() { impl_->http.listen_after_bind(); }

void Server::stop() {
  if (impl_->batcher) impl_->batcher->stop();
  impl_->http.stop();
}

}  // namespace trm::serve
