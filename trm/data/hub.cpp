#include "trm/data/hub.h"

#include <cerrno>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <exception>
#include <memory>
#include <stdexcept>

#include <curl/curl.h>
#include <fmt/format.h>

#include "trm/data/json_file.h"
#include "trm/io/sha256.h"
#include "trm/io/text.h"

namespace trm {

namespace {

namespace fs = std::filesystem;

std::string environment(const char* name) {
  const char* value = std::getenv(name);
  return value ? value : "";
}

std::string trimmed(std::string text) {
  while (!text.empty() && static_cast<unsigned char>(text.back()) <= ' ') text.pop_back();
  return text;
}

/// Letters, digits, `.`, `_`, `-`, and `/` between parts: nothing that leaves the cache's folder or
/// means something in an address.
void check_name(const std::string& name, const char* what, bool slashes) {
  bool good = !name.empty() && name.size() < 200 && name.find("..") == std::string::npos &&
              name.front() != '/' && name.back() != '/' && name.find("//") == std::string::npos;
  for (char c : name) {
    good &= std::isalnum(static_cast<unsigned char>(c)) || c == '.' || c == '_' || c == '-' ||
            (slashes && c == '/');
  }
  if (!good) {
    throw std::invalid_argument(
        fmt::format("[hub] '{}' is no name of a {}", printable(name), what));
  }
}

/// One transfer into a file, with what its answer said.
struct Transfer {
  std::FILE* file = nullptr;
  const Progress* progress = nullptr;
  std::string name, etag;  // the SHA-256 of large files stands in X-Linked-Etag
  int64_t linked_size = -1, offset = 0;
  bool disk_full = false;
  std::exception_ptr stopped;  // by the progress: no exception may pass through libcurl

  static size_t write(char* data, size_t, size_t bytes, void* self) {
    auto t = static_cast<Transfer*>(self);
    size_t written = std::fwrite(data, 1, bytes, t->file);
    t->disk_full = written != bytes;
    return written;
  }

  static size_t header(char* data, size_t, size_t bytes, void* self) {
    auto t = static_cast<Transfer*>(self);
    std::string line = trimmed({data, bytes});
    auto value = [&](const char* key) -> std::optional<std::string> {
      size_t n = std::strlen(key);
      if (line.size() < n || strncasecmp(line.c_str(), key, n) != 0) return std::nullopt;
      size_t from = line.find_first_not_of(" \"", n);
      size_t to = line.find_last_not_of(" \"");
      return from == std::string::npos ? "" : line.substr(from, to - from + 1);
    };
    if (auto v = value("X-Linked-Etag:")) t->etag = *v;
    if (auto v = value("X-Linked-Size:")) t->linked_size = std::atoll(v->c_str());
    return bytes;
  }

  static int advance(void* self, curl_off_t total, curl_off_t now, curl_off_t, curl_off_t) {
    auto t = static_cast<Transfer*>(self);
    if (!*t->progress || total <= 0) return 0;
    try {
      (*t->progress)("downloading " + t->name, t->offset + now, t->offset + total);
    } catch (...) {
      t->stopped = std::current_exception();
    }
    return t->stopped ? 1 : 0;
  }
};

[[noreturn]] void explain(long status, const std::string& repo, const std::string& file,
                          const HubOptions& o) {
  std::string what = fmt::format("[hub] {} of {} at {}", file, repo, printable(o.endpoint));
  if (status == 401 || status == 403) {
    fail("{}: access refused (HTTP {}): {}", what, status,
         o.token.empty() ? "set HF_TOKEN if the data set is private or gated"
                         : "HF_TOKEN has no access to this data set, or it does not exist");
  }
  if (status == 404) fail("{}: not found (HTTP 404): check --source-repo", what);
  fail("{}: the server answered HTTP {}", what, status);
}

/// The file's SHA-256; its size through `size`.
std::string sum_of(const fs::path& path) {
  std::unique_ptr<std::FILE, int (*)(std::FILE*)> f(std::fopen(path.c_str(), "rb"), std::fclose);
  if (!f) fail("[hub] cannot read {}: {}", printable(path.string()), strerror(errno));
  Sha256 sum;
  std::string buffer(1 << 20, '\0');
  while (size_t n = std::fread(buffer.data(), 1, buffer.size(), f.get()))
    sum.update(buffer.data(), n);
  return to_hex(sum.digest());
}

/// Downloads into `part`, going on after the bytes it already holds.
void download(const std::string& repo, const std::string& file, const HubOptions& o,
              const fs::path& part, const Progress& progress) {
  static const bool initialised = curl_global_init(CURL_GLOBAL_DEFAULT) == CURLE_OK;
  std::unique_ptr<CURL, void (*)(CURL*)> curl(curl_easy_init(), curl_easy_cleanup);
  if (!initialised || !curl) fail("[hub] libcurl cannot be started");
  std::string url = fmt::format("{}/datasets/{}/resolve/{}/{}", o.endpoint, repo, o.revision, file);
  std::error_code none;
  Transfer t;
  t.progress = &progress;
  t.name = file;
  t.offset = fs::exists(part) ? static_cast<int64_t>(fs::file_size(part, none)) : 0;
  std::unique_ptr<std::FILE, int (*)(std::FILE*)> out(std::fopen(part.c_str(), "ab"), std::fclose);
  if (!out) fail("[hub] cannot write {}: {}", printable(part.string()), strerror(errno));
  t.file = out.get();
  curl_easy_setopt(curl.get(), CURLOPT_URL, url.c_str());
  curl_easy_setopt(curl.get(), CURLOPT_PROTOCOLS_STR, "http,https");
  curl_easy_setopt(curl.get(), CURLOPT_REDIR_PROTOCOLS_STR, "http,https");
  curl_easy_setopt(curl.get(), CURLOPT_FOLLOWLOCATION, 1L);
  curl_easy_setopt(curl.get(), CURLOPT_MAXREDIRS, 10L);
  curl_easy_setopt(curl.get(), CURLOPT_FAILONERROR, 1L);
  curl_easy_setopt(curl.get(), CURLOPT_USERAGENT, "trm.cpp");
  curl_easy_setopt(curl.get(), CURLOPT_NOSIGNAL, 1L);
  curl_easy_setopt(curl.get(), CURLOPT_CONNECTTIMEOUT, 20L);
  curl_easy_setopt(curl.get(), CURLOPT_LOW_SPEED_LIMIT, 100L);  // bytes a second, for a minute
  curl_easy_setopt(curl.get(), CURLOPT_LOW_SPEED_TIME, 60L);
  curl_easy_setopt(curl.get(), CURLOPT_RESUME_FROM_LARGE, static_cast<curl_off_t>(t.offset));
  curl_easy_setopt(curl.get(), CURLOPT_WRITEFUNCTION, Transfer::write);
  curl_easy_setopt(curl.get(), CURLOPT_WRITEDATA, &t);
  curl_easy_setopt(curl.get(), CURLOPT_HEADERFUNCTION, Transfer::header);
  curl_easy_setopt(curl.get(), CURLOPT_HEADERDATA, &t);
  curl_easy_setopt(curl.get(), CURLOPT_XFERINFOFUNCTION, Transfer::advance);
  curl_easy_setopt(curl.get(), CURLOPT_XFERINFODATA, &t);
  curl_easy_setopt(curl.get(), CURLOPT_NOPROGRESS, 0L);
  // libcurl passes the token on only to the host it was meant for.
  if (!o.token.empty()) {
    curl_easy_setopt(curl.get(), CURLOPT_HTTPAUTH, CURLAUTH_BEARER);
    curl_easy_setopt(curl.get(), CURLOPT_XOAUTH2_BEARER, o.token.c_str());
  }
  CURLcode code = curl_easy_perform(curl.get());
  long status = 0;
  curl_off_t length = -1;
  curl_easy_getinfo(curl.get(), CURLINFO_RESPONSE_CODE, &status);
  curl_easy_getinfo(curl.get(), CURLINFO_CONTENT_LENGTH_DOWNLOAD_T, &length);
  bool flushed = std::fflush(out.get()) == 0;
  auto size = static_cast<int64_t>(fs::file_size(part, none));
  // 416: nothing is left to send, the earlier attempt had it all but the check.
  bool complete = code == CURLE_OK || (status == 416 && t.offset > 0);
  if (t.disk_full || !flushed)
    fail("[hub] cannot write {}: the disk is full", printable(part.string()));
  if (t.stopped) std::rethrow_exception(t.stopped);
  if (!complete && code == CURLE_HTTP_RETURNED_ERROR) {
    if (size == 0) fs::remove(part, none);
    explain(status, repo, file, o);
  }
  if (!complete && code == CURLE_RANGE_ERROR) {  // the server cannot go on in the middle
    fs::resize_file(part, 0);
    return download(repo, file, o, part, progress);
  }
  if (!complete) {
    std::string kept =
        size ? fmt::format("{} bytes are kept: run again to go on", size) : "run again";
    fail("[hub] {} of {}: {}; {}, or put the files into a folder and give --input-dir", file, repo,
         curl_easy_strerror(code), kept);
  }
  int64_t expected = t.linked_size >= 0 ? t.linked_size : length >= 0 ? t.offset + length : -1;
  bool wrong_size = code == CURLE_OK && expected >= 0 && size != expected;
  bool wrong_sum = t.etag.size() == 64 && sum_of(part) != t.etag;
  if (wrong_size || wrong_sum) {
    fs::remove(part, none);
    fail("[hub] {} of {} arrived damaged ({} is wrong) and was deleted: run again", file, repo,
         wrong_size ? "its size" : "its SHA-256");
  }
}

}  // namespace

HubOptions hub_options_from_environment() {
  HubOptions o;
  o.endpoint = environment("HF_ENDPOINT");
  if (o.endpoint.empty()) o.endpoint = "https://huggingface.co";
  while (o.endpoint.ends_with('/')) o.endpoint.pop_back();
  fs::path home = environment("HF_HOME");
  if (home.empty()) home = fs::path(environment("HOME")) / ".cache/huggingface";
  o.cache = home / "trm";
  o.token = environment("HF_TOKEN");
  std::error_code none;
  if (o.token.empty() && fs::is_regular_file(home / "token", none)) {
    o.token = read_text_file(home / "token", 4096);
  }
  o.token = trimmed(o.token);
  auto offline = environment("HF_HUB_OFFLINE");
  o.offline = !offline.empty() && offline != "0";
  return o;
}

fs::path hub_dataset_file(const std::string& repo, const std::string& file, const HubOptions& o,
                          const Progress& progress) {
  check_name(repo, "data set", true);
  check_name(file, "file", true);
  check_name(o.revision, "revision", false);
  fs::path target = o.cache / "datasets" / repo / o.revision / file;
  std::error_code none;
  if (fs::is_regular_file(target, none)) return target;
  if (o.offline) {
    fail("[hub] {} of {} is not in {} and HF_HUB_OFFLINE is set", file, repo,
         printable(o.cache.string()));
  }
  fs::create_directories(target.parent_path());
  fs::path part = target.string() + ".part";
  download(repo, file, o, part, progress);
  fs::rename(part, target);
  return target;
}

}  // namespace trm
