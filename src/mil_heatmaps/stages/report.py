class ReportStage: pass
